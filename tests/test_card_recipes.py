"""Recipes of the common cards. Oracle: the planner, asked again for the same machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.recipe import load_recipe
from tests.conftest import ROOT

NAMES = ("8gb", "12gb", "16gb", "24gb", "48gb", "80gb", "cpu")
FOLDER = ROOT / "recipes" / "cards"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "card_recipes", "--check", "--folder", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_recipes_are_what_the_planner_says():
    done = check(FOLDER)
    assert done.returncode == 0, done.stderr


def test_recipe_that_was_changed_by_hand_is_named(tmp_path):
    for name in NAMES:
        text = (FOLDER / f"{name}.yaml").read_text()
        text = text.replace("rank: 16", "rank: 17") if name == "8gb" else text
        (tmp_path / f"{name}.yaml").write_text(text)
    done = check(tmp_path)
    assert done.returncode == 1
    assert "8gb.yaml is not what the planner says" in done.stderr
    assert "12gb.yaml" not in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_valid_and_opens_with_the_command_that_runs_it(name):
    path = FOLDER / f"{name}.yaml"
    recipe = load_recipe(path)
    assert recipe.tune.method != "auto"
    assert (recipe.budget.memory_gibibytes == "auto") == (name == "cpu")
    comment, _, _ = path.read_text().partition("\n\n")
    command = comment.splitlines()[-1]
    assert command.startswith("#   appliance tune ./company_docs --base ")
    assert command.endswith(f" --recipe cards/{name}")
