"""Plans for plain text: whole where the base is small, high rank and embeddings where they fit."""

import pytest

from appliance.planning.methods import find_obstacle, list_methods
from appliance.planning.rungs import climb
from appliance.planning.schedule import plan_steps
from appliance.planning.worth import judge_corpus, judge_new_base
from appliance.recipe import PretrainRecipe, TuneRecipe
from tests.planning.machines import make_hardware, make_spec

AUTO = PretrainRecipe()


def test_small_base_is_pretrained_whole_and_a_large_one_by_qlora():
    assert list_methods(make_spec("embedded"), AUTO)[0] == "full"
    assert list_methods(make_spec("qwen3-0.6b"), AUTO) == ("qlora",)
    assert list_methods(make_spec("embedded"), TuneRecipe()) == ("qlora", "adapter")


@pytest.mark.parametrize(("gibibytes", "learns_whole"), [(32, True), (1, False)])
def test_embeddings_learn_whole_where_a_quarter_of_the_memory_holds_them(gibibytes, learns_whole):
    """Oracle: by hand, 16 bytes * 2 * 8192 * 256 are 64 MiB; auto allows a quarter of the limit."""
    spec = make_spec("embedded")
    wide = spec.model_copy(update={"vocab_size": 64 * 1024})  # 512 MiB: fits 28.8, not 0.9 GiB

    rung = climb(wide, "qlora", make_hardware(gibibytes), AUTO)

    assert rung.training.tunes_embeddings is learns_whole
    assert rung.training.rank == 64


def test_tied_embeddings_stay_as_they_are():
    spec = make_spec("embedded").model_copy(update={"tied": True})

    assert not climb(spec, "qlora", make_hardware(32), AUTO).training.tunes_embeddings


def test_whole_embeddings_are_counted_as_weights_that_learn():
    """Oracle: 12 bytes more for each weight (gradient, two moments), and itself again."""
    spec = make_spec("embedded")
    without = PretrainRecipe(embeddings="no", head="no")

    more = climb(spec, "qlora", make_hardware(32), AUTO).memory
    less = climb(spec, "qlora", make_hardware(32), without).memory

    num_weights = 2 * spec.vocab_size * spec.width
    assert more.trainable_bytes - less.trainable_bytes == 4 * num_weights
    assert more.optimizer_bytes - less.optimizer_bytes == 8 * num_weights


def test_plain_text_is_read_once_in_small_steps():
    steps = plan_steps(229_000, 1024, AUTO)

    assert steps.num_epochs == 1
    assert 100 <= steps.num_steps <= 130
    assert plan_steps(229_000, 1024, TuneRecipe()).num_epochs == 2


@pytest.mark.parametrize(
    ("num_tokens", "words"),
    [(50_000, "search over the documents"), (2_000_000, "hardly facts"), (10**8, "are enough")],
)
def test_corpus_is_judged_by_its_size(num_tokens, words):
    assert words in judge_corpus(num_tokens)


NEW = PretrainRecipe(start="nothing")


def test_model_from_nothing_learns_every_weight_in_many_small_steps_and_four_readings():
    assert list_methods(make_spec("qwen3-0.6b"), NEW) == ("full",)
    assert find_obstacle(make_spec("embedded"), "qlora", NEW)
    steps = plan_steps(1_000_000, 1024, NEW)
    assert (steps.packs_per_step, steps.num_epochs) == (1, 4)
    assert plan_steps(100_000_000, 1024, NEW).packs_per_step == 8


def test_new_terms_learn_embeddings_and_head_or_are_refused():
    recipe, spec = PretrainRecipe(new_terms=10, method="qlora"), make_spec("embedded")

    assert climb(spec, "qlora", make_hardware(1), recipe).training.tunes_embeddings
    assert not find_obstacle(spec, "qlora", recipe)
    assert "new_terms" in find_obstacle(spec.model_copy(update={"tied": True}), "qlora", recipe)
    assert "new_terms" in find_obstacle(spec, "adapter", recipe)


@pytest.mark.parametrize(
    ("num_read", "told"),
    [(500, "far too little"), (10_000, "about 500 weights"), (20_000, "are enough")],
)
def test_model_from_nothing_is_told_what_its_text_is_good_for(num_read, told):
    """Oracle: by hand, for 1,000 weights and twenty tokens a weight."""
    assert told in judge_new_base(num_read, 1_000)
