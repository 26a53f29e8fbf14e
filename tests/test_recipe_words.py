"""A list of names and code words in a recipe: written there, or in a file it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import RecipeError
from appliance.recipe import load_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("Project Nightjar\n\n  Ada Byron \n", encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text("documents:\n  mask_words: names.txt\n  mask_except: ['*@x.example', ip]\n")
    return path


def test_words_of_a_file_beside_the_recipe_are_part_of_it(recipe: Path):
    documents = load_recipe(recipe).documents
    assert documents.mask_words == ("Project Nightjar", "Ada Byron")
    assert documents.mask_except == ("*@x.example", "ip")


def test_words_may_be_written_as_a_list():
    documents = load_recipe(None, ("documents.mask_words=[Ada Byron, Nightjar]",)).documents
    assert documents.mask_words == ("Ada Byron", "Nightjar")


def test_words_of_any_file_are_read_when_the_person_names_it(recipe: Path):
    setting = f"documents.mask_words={recipe.parent / 'names.txt'}"
    assert load_recipe(None, (setting,)).documents.mask_words[1] == "Ada Byron"


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside.txt", "link.txt"])
def test_recipe_cannot_read_a_file_outside_its_folder(tmp_path: Path, name: str):
    (tmp_path / "outside.txt").write_text("a word\n")
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    path = folder / "appliance.yaml"
    path.write_text(f"documents:\n  mask_words: {name}\n")
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        load_recipe(path)
    assert "only name a file in its own folder" in caught.value.why
    assert "beside the recipe" in caught.value.fix


def test_missing_list_is_told_with_its_name(recipe: Path):
    (recipe.parent / "names.txt").unlink()
    with pytest.raises(RecipeError, match=r"names\.txt") as caught:
        load_recipe(recipe)
    assert caught.value.why == "No such file or directory"
    assert caught.value.fix
