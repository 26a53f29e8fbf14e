"""`appliance recipes`: what people see, and what lies in the files it writes."""

import json

import pytest
import yaml
from click.testing import CliRunner

from appliance.cli.recipes import recipes
from appliance.errors import RecipeError, UsageError
from appliance.recipe import Recipe, find_recipe, load_recipe


def run(*arguments):
    done = CliRunner().invoke(recipes, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_list_names_each_with_its_purpose():
    rows = json.loads(run("list", "--json"))["recipes"]

    assert {"support", "legal", "healthcare", "finance", "cards/8gb"} <= {
        row["name"] for row in rows
    }
    assert all(row["about"] and row["command"].startswith("appliance ") for row in rows)
    assert all(row["name"] in run("list") for row in rows)


def test_show_prints_the_file():
    assert run("show", "legal") == find_recipe("legal").path.read_text()


def test_check_tells_what_is_decided_beside_the_default(tmp_path):
    file = tmp_path / "ours.yaml"
    file.write_text("tune:\n  rank: 8\n  epochs: 2\n")

    decides = json.loads(run("check", file, "--json"))["decides"]

    assert decides == [
        {"key": "tune.rank", "value": 8, "default": 16},
        {"key": "tune.epochs", "value": 2, "default": "auto"},
    ]
    assert "tune.rank" in run("check", file)


def test_check_refuses_a_wrong_key(tmp_path):
    file = tmp_path / "ours.yaml"
    file.write_text("tune:\n  rnak: 8\n")

    with pytest.raises(RecipeError, match=r"tune\.rank"):
        run("check", file)


def test_new_writes_every_key_and_each_is_as_its_default(tmp_path):
    file = tmp_path / "ours.yaml"
    run("new", file)

    assert load_recipe(file) == Recipe()
    body = "\n".join(line[2:] for line in file.read_text().partition("\n\n")[2].splitlines())
    tree = yaml.safe_load(body)
    assert tree == Recipe().model_dump(mode="json")


def test_new_like_another_is_the_same_and_runs_by_its_own_name(tmp_path):
    file = tmp_path / "ours.yaml"
    run("new", file, "--like", "support")

    assert load_recipe(file) == load_recipe(find_recipe("support").path)
    assert f"--recipe {file}" in file.read_text()


def test_new_leaves_a_file_that_is_there_alone(tmp_path):
    file = tmp_path / "ours.yaml"
    file.write_text("mine")

    with pytest.raises(UsageError):
        run("new", file)

    assert file.read_text() == "mine"


def test_import_writes_a_recipe_that_is_good(tmp_path):
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    theirs.write_text("base_model: Qwen/Qwen3-0.6B\nadapter: lora\nlora_r: 4\nlora_alpha: 8\n")

    body = json.loads(run("import", theirs, ours, "--json"))

    assert body["command"].endswith(f"--base Qwen/Qwen3-0.6B --recipe {ours}")
    assert {row["theirs"] for row in body["left"]} == {"lora_alpha"}
    assert load_recipe(ours).tune.rank == 4


def test_import_of_a_value_that_is_impossible_here_says_so_and_writes_nothing(tmp_path):
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    theirs.write_text("base_model: x\nadapter: lora\nlora_r: 5000\n")

    with pytest.raises(RecipeError, match=r"tune\.rank"):
        run("import", theirs, ours)

    assert not ours.exists()


def test_schema_is_one_that_recipes_keep():
    schema = json.loads(run("schema"))

    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False
