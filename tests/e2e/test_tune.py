"""The main job from documents to an answer, and the gate that stops a damaged model."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, run_appliance

KEYS = {
    "run", "bundle", "base", "method", "base_loss", "tuned_loss", "exported_loss", "gain_kept",
    "parity", "planned_memory_bytes", "peak_memory_bytes", "seconds", "files", "tokens",
}  # fmt: skip
"""What scripts may rely on."""

STAGES = {
    "corpus", "base", "questions", "dataset", "plan", "tune", "evaluate", "audit", "merge",
    "reference", "export", "parity", "verdict", "bundle",
}  # fmt: skip


def test_tune_json_holds_what_scripts_rely_on(finished):
    assert finished.keys() >= KEYS
    assert set(finished["seconds"]) == STAGES
    assert {"used", "skipped"} <= finished["files"].keys()
    assert {"train", "supervised", "dropped"} <= finished["tokens"].keys()
    rungs = [rung["rung"] for rung in finished["parity"]]
    assert rungs[:3] == ["adapter", "merged", "onnx-fp32"]
    assert all(
        {"rung", "loss", "kl", "top1", "passed"} <= rung.keys() for rung in finished["parity"]
    )


def test_tune_tells_what_was_forgotten_and_what_could_be_extracted(finished):
    """A random base that read the documents once has nothing to forget, and learned no text."""
    general, leaks = finished["evaluation"]["general"], finished["leaks"]

    assert general["rise"] <= general["limit"]
    assert general["own_drift"] > 0
    assert leaks["num_spans"] > 10
    assert leaks["num_secrets_recalled"] == 0
    assert leaks["longest_recall"] <= leaks["limits"]["recall"]


def test_tune_learns_and_ships_what_it_learned(finished):
    assert finished["tuned_loss"] < finished["base_loss"]
    assert finished["gain_kept"] >= 0.95
    strict = finished["parity"][2]
    assert strict["kl"] < 1e-5
    assert strict["top1"] >= 0.999


def test_bundle_is_verified_and_answers(finished):
    verified = run_appliance("verify", finished["bundle"], "--json")
    answer = run_appliance(
        "chat", finished["run"], "-m", "What is the warranty?", "--max-tokens", 8
    )

    assert verified.returncode == 0, verified.stderr
    json.loads(verified.stdout)
    assert answer.returncode == 0, answer.stderr


def test_run_is_closed_to_others_and_the_bundle_has_no_document_text(finished, documents):
    run = Path(finished["run"])
    assert [path for path in run.rglob("*") if path.stat().st_mode & 0o077] == []
    assert run.stat().st_mode & 0o077 == 0
    words = "Limna"  # a product of the sample company
    for path in (run / "bundle").rglob("*"):
        if path.suffix in {".json", ".md", ".html"}:
            assert words not in path.read_text(), path
    assert words not in (run / "events.jsonl").read_text()


def test_tune_again_restores_every_stage(finished, small_base, documents):
    runs = Path(finished["run"]).parent

    again = run_appliance("tune", documents, "--base", small_base, "--runs", runs, "--json", *SMALL)

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == finished


@pytest.mark.slow
def test_damaged_graph_is_refused_and_leaves_no_bundle(finished, small_base, documents, tmp_path):
    shutil.copytree(Path(finished["run"]).parent, tmp_path / "runs")
    run = tmp_path / "runs" / Path(finished["run"]).name
    weights = run / "reference" / "onnx-fp32" / "model.onnx.data"
    body = bytearray(weights.read_bytes())
    middle = len(body) // 2 // 4 * 4
    for offset in range(middle, middle + 4 * 4096, 4):  # the exponents of 4,096 weights
        body[offset + 3] ^= 0x01
    weights.write_bytes(bytes(body))
    for name in ("parity", "verdict", "bundle"):
        (run / "receipts" / f"{name}.json").unlink()
    shutil.rmtree(run / "bundle")

    refused = run_appliance(
        "tune", documents, "--base", small_base, "--runs", tmp_path / "runs", *SMALL
    )

    assert refused.returncode == 9, refused.stderr
    assert "onnx-fp32" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (run / "bundle").exists()
