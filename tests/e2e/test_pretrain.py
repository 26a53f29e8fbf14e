"""The real `appliance pretrain`: a bundle, the same bits after a kill, and on to tuning."""

import hashlib
import itertools
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from appliance.bases.spec import read_spec
from appliance.dataset.general_text import read_sample
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

STATED = 2.6
"""Bits per byte that the miniature of the embedded base's recipe reaches."""


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

    done = run_appliance(*arguments, "--recipe", recipe, "--set", "pretrain.new_terms=60")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    receipts = {path.stem for path in (Path(result["run"]) / "receipts").glob("*.json")}
    assert {"pretrain-plan", "pretrain", "judge", "pretrained", "plan", "tune"} <= receipts
    assert result["base"] == "small+terms+pretrained"
    before, after = result["pretraining"]["base"], result["evaluation"]["base"]
    assert after["bits_per_byte"] < before["bits_per_byte"], "tuning starts from pretraining"
    check_new_terms(Path(result["run"]), Path(result["bundle"]))


def check_new_terms(run: Path, bundle: Path) -> None:
    """New tokens are in tokenizer and graph of the bundle, and the graph learned to write them."""
    parts = json.loads((run / "new-terms" / "parts.json").read_text())
    assert 0 < len(parts) <= 60 and min(map(int, parts)) == 8192
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    word = max((tokenizer.id_to_token(int(token)) for token in parts), key=len)
    ids = tokenizer.encode(word.replace("\u0120", " ")).ids
    assert len(ids) == 1 and ids[0] >= 8192
    shape = json.loads((bundle / "genai_config.json").read_text())["model"]
    assert shape["vocab_size"] == 8192 + len(parts)
    done = run_appliance("verify", bundle)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_miniature_of_the_embedded_base_reaches_its_loss(tmp_path):
    """Oracle: a bigram model of the same text, from which it starts, and the loss stated here."""
    groups = ("books", "docs", "templated", "gov")
    for number, text in enumerate(itertools.islice(read_sample("replay"), 48)):
        folder = tmp_path / "documents" / groups[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(text)
    small = ("layers=2", "width=64", "heads=2", "kv_heads=1", "vocabulary=1024", "context=512")

    done = run_appliance(
        "pretrain", tmp_path / "documents", "--runs", tmp_path / "runs", "--json", *FAST[:-2],
        "--recipe", ROOT / "recipes" / "embedded-base.yaml", "--set", "shape.intermediate=128",
        *(part for key in small for part in ("--set", f"shape.{key}")),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["base"], result["method"]) == ("new", "full")
    before, after = (result["evaluation"][who]["bits_per_byte"] for who in ("base", "tuned"))
    assert before < 3.0, "a bigram model; a plain start needs over 4"
    assert after < STATED
    spec = read_spec(Path(result["run"]) / "merge" / "model")
    assert spec.exportable, "a base like any other"
