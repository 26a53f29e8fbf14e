"""Steps, epochs and lengths of packs. Oracle: divisions by hand."""

import pytest

from appliance.errors import RecipeError
from appliance.planning.schedule import Steps, Text, choose_epochs, list_lengths, plan_steps
from appliance.recipe import TuneRecipe
from tests.planning.machines import make_spec

AUTO = TuneRecipe()


def test_small_corpus_gets_small_steps_and_two_epochs():
    steps = plan_steps(40_000, 1024, AUTO)
    # 40,000 / (0.95 * 1024) = 41.1 -> 42 packs, one a step, twice
    assert steps == Steps(packs_per_step=1, num_epochs=2, num_steps=84)


def test_large_corpus_gets_large_steps_and_one_epoch():
    steps = plan_steps(3_000_000, 2048, AUTO)
    # steps of at most 8192 tokens; 3 M / 1945.6 = 1542 packs, 4 a step
    assert steps == Steps(packs_per_step=4, num_epochs=1, num_steps=386)


def test_corpus_between_keeps_about_sixty_steps_an_epoch():
    steps = plan_steps(200_000, 1024, AUTO)
    assert steps.packs_per_step == 3  # 200,000 / 60 = 3,333 tokens
    assert 60 <= steps.num_steps / steps.num_epochs <= 75


@pytest.mark.parametrize(("tokens", "epochs"), [(100, 2), (60_000, 2), (250_000, 2), (250_001, 1)])
def test_more_text_means_fewer_epochs(tokens, epochs):
    assert choose_epochs(tokens, TuneRecipe()) == epochs


def test_recipe_fixes_the_epochs():
    assert plan_steps(1_000_000, 1024, TuneRecipe(epochs=4)).num_epochs == 4


@pytest.mark.parametrize(("steps", "trial"), [(20, 8), (150, 18), (5000, 40)])
def test_trial_of_a_rate_is_a_part_of_the_run_within_bounds(steps, trial):
    assert Steps(packs_per_step=1, num_epochs=1, num_steps=steps).trial_steps == trial


def test_no_epoch_is_refused():
    recipe = TuneRecipe.model_construct(**(AUTO.model_dump() | {"epochs": 0}))
    with pytest.raises(RecipeError, match=r"tune\.epochs=0 trains nothing"):
        plan_steps(1000, 1024, recipe)


def test_lengths_stay_within_context_and_above_the_longest_example():
    spec = make_spec("embedded")
    assert list_lengths(spec, AUTO, "cpu", Text()) == (1024, 512, 256)
    assert list_lengths(spec, AUTO, "cpu", Text(longest_example=400)) == (1024, 512, 448)
    assert list_lengths(spec, AUTO, "cuda", Text()) == (1024, 512)
    short = spec.model_copy(update={"context": 300})
    assert list_lengths(short, AUTO, "cpu", Text(longest_example=280)) == (300,)


def test_pack_is_no_longer_than_a_step_wants_to_read():
    spec = make_spec("qwen3-0.6b")
    few, many = Text(train_tokens=30_000), Text(train_tokens=3_000_000)
    assert list_lengths(spec, AUTO, "cuda", few) == (1024, 512)
    assert list_lengths(spec, AUTO, "cuda", many) == (8192, 4096, 2048, 1024, 512)


def test_longest_example_sets_the_pack_where_no_usual_length_holds_it():
    text = Text(train_tokens=60_000, longest_example=2500)
    assert list_lengths(make_spec("qwen3-0.6b"), AUTO, "cpu", text) == (2560,)  # a multiple of 64


def test_fixed_length_is_the_only_one():
    recipe, text = TuneRecipe(sequence_length=700), Text(longest_example=600)
    assert list_lengths(make_spec("embedded"), recipe, "cpu", text) == (700,)


@pytest.mark.parametrize(
    ("length", "longest", "what", "fix"),
    [
        (2048, 0, "tune.sequence_length=2048 is longer than the base can read", "=1024"),
        (512, 600, "tune.sequence_length=512 is too short", "=600"),
        (64, 65, "tune.sequence_length=64 is too short", "=65"),
    ],
)
def test_length_that_cannot_be_used_is_refused(length, longest, what, fix):
    text = Text(longest_example=longest)
    with pytest.raises(RecipeError) as caught:
        list_lengths(make_spec("embedded"), TuneRecipe(sequence_length=length), "cpu", text)
    assert caught.value.what == what
    assert caught.value.fix.endswith(fix)
    assert caught.value.why
