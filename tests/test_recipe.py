"""Reading a recipe: what it accepts, and what it says about every kind of fault."""

import pytest

from appliance.errors import RecipeError
from appliance.recipe import Recipe, load_recipe


def write(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def fail(path=None, *settings):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, settings)
    return caught.value


def test_no_recipe_is_the_defaults():
    assert load_recipe(None) == Recipe()


def test_empty_file_is_the_defaults(tmp_path):
    assert load_recipe(write(tmp_path, "# nothing yet\n")) == Recipe()


def test_file_changes_what_it_names_and_nothing_else(tmp_path):
    recipe = load_recipe(write(tmp_path, "tune:\n  rank: 4\n"))

    assert recipe.tune.rank == 4
    assert recipe.tune.model_copy(update={"rank": 16}) == Recipe().tune
    assert recipe.export == Recipe().export


def test_setting_wins_over_the_file(tmp_path):
    recipe = load_recipe(write(tmp_path, "tune:\n  rank: 4\n  epochs: 2\n"), ("tune.rank=8",))

    assert (recipe.tune.rank, recipe.tune.epochs) == (8, 2)


@pytest.mark.parametrize("text", ["1e-4", "0.0001", "1.0e-4"])
def test_setting_reads_a_number_as_a_number(text):
    assert load_recipe(None, (f"tune.lr={text}",)).tune.lr == 1e-4


def test_file_reads_a_number_with_a_point_as_a_number(tmp_path):
    assert load_recipe(write(tmp_path, "tune:\n  lr: 1.0e-4\n")).tune.lr == 1e-4


def test_missing_file_is_named(tmp_path):
    error = fail(tmp_path / "nowhere.yaml")

    assert "nowhere.yaml" in error.what
    assert "appliance recipes list" in error.fix


@pytest.mark.parametrize("text", ["tune: [1, 2", "{", "tune:\n\trank: 8\n"])
def test_file_that_is_not_yaml_says_so(tmp_path, text):
    error = fail(write(tmp_path, text))

    assert "cannot be read" in error.what
    assert "YAML" in error.fix


def test_folder_in_place_of_a_file_says_so(tmp_path):
    assert "cannot be read" in fail(tmp_path).what


def test_file_whose_top_level_is_a_list_says_so(tmp_path):
    assert "list" in fail(write(tmp_path, "- tune\n")).why


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [("tune.rnak=8", "tune.rank"), ("tune.metod=full", "tune.method"), ("tnue.rank=8", "tune")],
)
def test_unknown_key_names_the_nearest(setting, nearest):
    error = fail(None, setting)

    assert f"unknown key {setting.split('=')[0].removesuffix('.rank')}" in error.why
    assert f"did you mean {nearest}" in error.why


def test_all_faults_are_reported_at_once(tmp_path):
    path = write(tmp_path, "tune:\n  rank: 0\n  metod: full\nexport:\n  precision: int3\n")

    error = fail(path)

    assert error.what.startswith("3 faults")
    assert str(path) in error.what
    for fragment in ("tune.rank", "(got 0)", "tune.metod", "export.precision", "'int3'"):
        assert fragment in error.why


@pytest.mark.parametrize("setting", ["tune.rank", "rank=8", "=8", ".=8", "tune=8"])
def test_setting_that_is_no_key_and_value_shows_how(setting):
    error = fail(None, setting)

    assert setting in error.what
    assert "section.key=value" in error.why
    assert "--set tune.rank=8" in error.fix


def test_setting_below_something_that_is_no_section_says_so(tmp_path):
    error = fail(write(tmp_path, "tune: fast\n"), "tune.rank=8")

    assert "'tune'" in error.what
    assert "str" in error.why


@pytest.mark.parametrize(
    "setting", ["tune.rank=8.5", "tune.rank=many", "tune.rank=", "tune.rank=no"]
)
def test_value_of_another_type_is_refused_and_shown(setting):
    error = fail(None, setting)

    assert error.what.startswith("1 fault ")
    assert "tune.rank" in error.why
    assert "got" in error.why


def test_error_has_the_exit_code_of_recipes():
    assert fail(None, "tune.rank").exit_code == 3


# ---------------------------------------------------------------- faults that are still there


@pytest.mark.parametrize("value", ["yes", "no"])
def test_head_can_be_switched_by_a_setting(value):
    assert load_recipe(None, (f"tune.head={value}",)).tune.head == value


def test_file_reads_an_exponent_without_a_point_as_a_number(tmp_path):
    assert load_recipe(write(tmp_path, "tune:\n  lr: 1e-4\n")).tune.lr == 1e-4


def test_setting_whose_value_is_not_yaml_says_so():
    fail(None, "tune.rank=[1")


def test_unknown_key_is_named_whatever_it_begins_with():
    assert "unknown key tune.interval" in fail(None, "tune.interval=3").why


def test_one_wrong_value_is_one_fault():
    assert fail(None, "tune.lr=fast").what.startswith("1 fault ")


@pytest.mark.parametrize(
    "setting", ["tune.lr=-1", "tune.lr=0", "tune.lr=nan", "tune.threads=0", "tune.epochs=0"]
)
def test_number_that_cannot_train_is_refused(setting):
    fail(None, setting)
