"""The tuning stage as the pipeline calls it, on a real small base."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from appliance.bases.spec import read_spec
from appliance.errors import TrainingError
from appliance.events import StepDone
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.tune import tune
from appliance.values import Dataset, Split
from tests.conftest import EMBEDDED
from tests.tuning.conftest import make_plan


@pytest.fixture
def job(tiny_folder, split, tmp_path):
    """Base and dataset of a run whose training and validation split are the same 40 examples."""
    base = tmp_path / "base"
    shutil.copytree(tiny_folder, base)
    return describe_base(base), describe_dataset(split)


def describe_base(folder):
    """A base whose tokenizer is another's: nobody encodes here."""
    shutil.copyfile(EMBEDDED / "tokenizer.json", folder / "tokenizer.json")
    return read_spec(folder)


def describe_dataset(split, valid=None):
    """A dataset in the folders `split` and `valid` of the run; without the second, all are one."""
    part = describe_split(split, "split")
    return Dataset(
        train=part,
        valid=describe_split(valid, "valid") if valid else part,
        test=part,
        questions_file="",
        ledger_file="",
        num_questions=0,
        num_tokens_dropped=0,
        num_tokens_repeated=0,
        longest_example=int(split.lengths_E.max()),
        sha256="",
    )


def describe_split(split, folder):
    num_examples = len(split.examples_E5)
    return Split(
        folder=folder,
        num_documents=num_examples,
        num_examples=num_examples,
        num_tokens=split.num_tokens,
        num_labels=int(split.count_labels().sum()),
    )


def run(job, folder, name, on_event=lambda event: None, plan=None, **recipe):
    stage = StageFolder(
        name=name,
        folder=folder / name,
        run=folder,
        on_event=on_event,
        should_stop=lambda: False,
    )
    stage.folder.mkdir(exist_ok=True)
    plan = make_plan(num_epochs=2, packs_per_step=2, **(plan or {}))
    return tune(plan, *job, TuneRecipe(lr=3e-2, **recipe), stage)


def test_adapter_with_cached_hidden_states_is_the_adapter_without(job, tmp_path):
    plan = {"method": "adapter"}

    plain = run(job, tmp_path, "plain", plan=plan, cache_hidden_states="off")
    cached = run(job, tmp_path, "cached", plan=plan, cache_hidden_states="memory")

    assert cached.held_out_loss == plain.held_out_loss < plain.start_loss
    weights = [(tmp_path / n / "weights" / "adapter.safetensors") for n in ("plain", "cached")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert cached.planned_memory_bytes > plain.planned_memory_bytes == 0
    assert plain.utilisation > 0
    assert cached.utilisation is None


@pytest.mark.parametrize("method", ["qlora", "prompt"])
def test_tuned_model_tells_what_training_cost(job, tmp_path, method):
    events = []

    tuned = run(job, tmp_path, method, events.append, plan={"method": method})

    steps = [event for event in events if isinstance(event, StepDone)]
    assert tuned.num_steps == len(steps) == steps[-1].num_steps
    assert all(0 < event.gradient_norm < 1e3 for event in steps)
    assert tuned.held_out_loss < tuned.start_loss
    assert tuned.num_returns == 0
    assert 0 < tuned.utilisation < 1
    assert load_file(next((tmp_path / method / "weights").glob("*.safetensors")))


def test_base_whose_loss_is_no_number_is_an_error_that_says_what_was_tried(job, tmp_path):
    spec, dataset = job
    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(TrainingError, match="diverged at every learning rate") as caught:
        run((spec, dataset), tmp_path, "ill")

    assert caught.value.why == "tried 3.0e-02"
