"""The recipes that ship: each loads, says how it is run, and changes something."""

import pytest

from appliance.recipe import Recipe, load_recipe
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_there_are_recipes():
    assert len(RECIPES) >= 3


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_and_changes_something(path):
    assert load_recipe(path) != Recipe()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_opens_with_the_command_that_runs_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[: lines.index("")] if line.startswith("#")]

    assert f"#   appliance tune ./company_docs --recipe recipes/{path.name}" in comment
    assert len(comment) > 2, "what it is for"
