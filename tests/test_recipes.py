"""The recipes that ship: each loads by its name, says how it is run, and changes something."""

from pathlib import Path

import pytest

from appliance.errors import RecipeError
from appliance.recipe import Recipe, find_file, list_recipes, load_recipe
from tests.conftest import ROOT

RECIPES = [recipe for recipe in list_recipes() if "/" not in recipe.name]


def test_recipes_that_ship_are_those_of_the_folder():
    assert {recipe.path for recipe in list_recipes()} == set((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_is_valid_and_changes_something(recipe):
    assert load_recipe(recipe.path) != Recipe()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_opens_with_what_it_is_for_and_the_command_that_runs_it(recipe):
    verb, options = recipe.command.split()[1], recipe.command.partition("./company_docs ")[2]

    assert verb in ("tune", "pretrain")
    assert options == f"--recipe {recipe.name}"
    assert 15 < len(recipe.title) <= 100
    assert len(recipe.about) > len(recipe.title) + 20


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_is_short(recipe):
    assert len(recipe.path.read_text().splitlines()) <= 32


def test_name_that_ships_is_found_and_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = next(recipe for recipe in RECIPES if recipe.name == "quick")
    assert find_file(Path("quick")) == named.path

    (tmp_path / "quick").write_text("tune:\n  rank: 4\n")

    assert load_recipe(Path("quick")).tune.rank == 4


def test_folder_of_documents_with_the_name_of_a_recipe_is_in_nobodys_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support").mkdir()

    assert find_file(Path("support")).name == "support.yaml"


def test_name_that_is_nearly_right_is_told():
    with pytest.raises(RecipeError, match="suport") as caught:
        load_recipe(Path("suport"))

    assert "--recipe support" in str(caught.value)
