"""The layers hold, and the command line starts without the heavy libraries."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.main import VERBS
from tests.conftest import ROOT

HEAVY = {"torch", "transformers", "numpy", "peft", "bitsandbytes", "onnx", "onnxruntime"}


def run_python(*arguments):
    return subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )


def find_imports(stderr):
    """Top-level packages that the interpreter says it imported."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}


def test_import_contract_holds():
    command = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([command], capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.returncode == 0, done.stdout


def test_command_line_imports_nothing_heavy():
    done = run_python("-c", "import appliance.cli.main")

    assert done.returncode == 0, done.stderr
    assert not find_imports(done.stderr) & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_imports_nothing_heavy(arguments):
    done = run_python("-m", "appliance", *arguments)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: appliance")
    assert not find_imports(done.stderr) & HEAVY


@pytest.mark.parametrize("verb", ["tune", "plan", "report"])
def test_help_shows_an_example_on_a_line_of_its_own(verb):
    assert find_examples(run_python("-m", "appliance", verb, "--help").stdout)


@pytest.mark.parametrize("arguments", [[], ["chat"], ["verify"]])
def test_help_shows_an_example_on_a_line_of_its_own_when_it_is_in_the_docstring(arguments):
    assert find_examples(run_python("-m", "appliance", *arguments, "--help").stdout)


def find_examples(text):
    return [line for line in text.splitlines() if line.startswith("    appliance ")]


def test_planning_imports_no_torch():
    done = run_python("-c", "import appliance.planning.planner, appliance.hardware.probe")

    assert done.returncode == 0, done.stderr
    assert not find_imports(done.stderr) & {"torch", "transformers", "peft", "bitsandbytes"}
