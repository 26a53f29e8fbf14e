"""`kill -9` in every stage: the same command goes on, and ends with the same bits."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from appliance.events import StageStarted, StepDone, decode_event
from tests.conftest import ROOT
from tests.e2e.conftest import SMALL, build_command, run_appliance

STAGES = [
    "corpus", "dataset", "tune", "evaluate", "audit", "merge", "reference", "parity", "bundle",
]  # fmt: skip
ARTEFACTS = [
    "tune/weights/adapter_model.safetensors",
    "merge/model/model.safetensors",
    "bundle/model.onnx",
    "bundle/model.onnx.data",
    "bundle/tokenizer.json",
]


def hash_artefacts(run: Path) -> dict[str, str]:
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in ARTEFACTS}


def kill_when(command: list[str], runs: Path, is_reached) -> None:
    """Start the job and kill it and its worker when an event says so."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    seen = len(read_lines(runs))
    deadline = time.monotonic() + 300
    try:
        while time.monotonic() < deadline:
            assert process.poll() is None, "the job ended before it could be killed"
            if any(is_reached(decode_event(line)) for line in read_lines(runs)[seen:]):
                return
            time.sleep(0.01)
        raise AssertionError("the event did not come")
    finally:
        process.send_signal(signal.SIGKILL)  # the worker dies with its parent
        process.wait()


def read_lines(runs: Path) -> list[str]:
    """Whole lines of the run's events; the last one may be half-written."""
    return [
        line for path in runs.glob("*/events.jsonl") for line in path.read_text().split("\n")[:-1]
    ]


@pytest.mark.slow
def test_job_killed_in_every_stage_ends_with_the_same_bits(
    finished, small_base, documents, tmp_path
):
    arguments = ("tune", documents, "--base", small_base, "--runs", tmp_path, "--json", *SMALL)
    command = build_command(*arguments)

    for stage in STAGES:
        kill_when(
            command,
            tmp_path,
            lambda event, stage=stage: isinstance(event, StageStarted) and event.stage == stage,
        )
        if stage == "tune":  # twice more while it learns, after a checkpoint
            for step in (6, 12):
                kill_when(
                    command,
                    tmp_path,
                    lambda event, step=step: isinstance(event, StepDone) and event.step >= step,
                )
        assert not list(tmp_path.glob("*/bundle")), "nothing half-made is visible"
    done = run_appliance(*arguments)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert hash_artefacts(Path(result["run"])) == hash_artefacts(Path(finished["run"]))
    assert result["tuned_loss"] == finished["tuned_loss"]


@pytest.mark.slow
def test_interrupted_job_says_how_to_go_on(small_base, documents, tmp_path):
    arguments = ("tune", documents, "--base", small_base, "--runs", tmp_path, *SMALL)
    process = subprocess.Popen(
        build_command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and len(read_lines(tmp_path)) < 12:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("*/bundle"))
