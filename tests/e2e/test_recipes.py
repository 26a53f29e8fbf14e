"""Every recipe that ships for a purpose or a method, from documents to a bundle."""

import json

import pytest

from appliance.recipe import list_recipes, load_recipe
from tests.e2e.conftest import SMALL, run_appliance

OTHER = {"embedded-base"}
"""Makes a base from nothing: tests/e2e/test_pretrain.py."""

SHORT_PRETRAIN = ("--set", "pretrain.epochs=1", "--set", "export.parity_tokens=1000")

RECIPES = [each for each in list_recipes() if "/" not in each.name and each.name not in OTHER]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_ends_with_a_bundle(recipe, small_base, documents, tmp_path):
    """Made short by SMALL; forced, since random weights may keep less than a strict recipe asks."""
    verb = recipe.command.split()[1]
    short = SMALL if verb == "tune" else SHORT_PRETRAIN

    done = run_appliance(
        *(verb, documents, "--base", small_base, "--recipe", recipe.name),
        *("--runs", tmp_path, "--force", "--json", *short),
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    method = getattr(load_recipe(recipe.path), verb).method
    assert method in ("auto", result["method"])
    assert run_appliance("verify", result["bundle"]).returncode == 0
