"""The real `appliance pretrain`: a bundle, the same bits after a kill, and on to tuning."""

import hashlib
import json
from pathlib import Path

import pytest

from appliance.events import StageStarted, StepDone
from tests.conftest import ROOT
from tests.e2e.conftest import SMALL, build_command, run_appliance
from tests.e2e.test_restart import kill_when

FAST = (
    *SMALL,
    "--set", "pretrain.sequence_length=512",
    "--set", "pretrain.checkpoint_seconds=0.2",
    "--set", "pretrain.lr=3e-3",
)  # fmt: skip


def name_arguments(documents, small_base, runs):
    return ("pretrain", documents, "--base", small_base, "--runs", runs, "--json", *FAST)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, small_base, documents):
    """The result of an uninterrupted run, and what it said."""
    runs = tmp_path_factory.mktemp("pretrained")
    done = run_appliance(*name_arguments(documents, small_base, runs))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def hash_weights(run: Path) -> list[str]:
    names = ("pretrain/weights/model.safetensors", "bundle/model.onnx.data")
    return [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names]


@pytest.mark.slow
def test_pretrain_makes_a_bundle_that_knows_the_text_better(pretrained):
    result, said = pretrained

    assert result["evaluation"]["improvement"] > 0.05
    assert result["evaluation"]["general"]["limit"] == 0.02
    assert result["method"] == "full", "the base is small"
    assert (Path(result["bundle"]) / "model.onnx").exists()
    assert "too little to be worth pretraining" in said
    assert "general text: bits per byte" in said


@pytest.mark.slow
def test_pretrain_killed_at_every_turn_ends_with_the_same_bits(
    pretrained, small_base, documents, tmp_path
):
    arguments = name_arguments(documents, small_base, tmp_path)
    for is_reached in (
        lambda event: isinstance(event, StageStarted) and event.stage == "text",
        lambda event: isinstance(event, StepDone) and event.step >= 5,
        lambda event: isinstance(event, StepDone) and event.step >= 15,
        lambda event: isinstance(event, StageStarted) and event.stage == "judge",
    ):
        kill_when(build_command(*arguments), tmp_path, is_reached)

    done = run_appliance(*arguments)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert hash_weights(Path(result["run"])) == hash_weights(Path(pretrained[0]["run"]))
    assert result["tuned_loss"] == pretrained[0]["tuned_loss"]


@pytest.mark.slow
def test_one_recipe_pretrains_and_tunes_in_one_run(small_base, documents, tmp_path):
    recipe = ROOT / "recipes" / "pretrain-then-tune.yaml"
    arguments = ("tune", documents, "--base", small_base, "--runs", tmp_path, "--json", *FAST)

    done = run_appliance(*arguments, "--recipe", recipe)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    receipts = {path.stem for path in (Path(result["run"]) / "receipts").glob("*.json")}
    assert {"pretrain-plan", "pretrain", "judge", "pretrained", "plan", "tune"} <= receipts
    assert result["base"] == "small+pretrained"
    before, after = result["pretraining"]["base"], result["evaluation"]["base"]
    assert after["loss"] < before["loss"], "tuning starts from what pretraining made"
