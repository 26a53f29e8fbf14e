"""`appliance plan`. Oracle: the keys that scripts rely on, and sums of the terms."""

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli.plan import plan
from appliance.errors import BaseModelError, DocumentsError, RecipeError, ResourceError


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def documents(tmp_path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(12):
        facts = " ".join(
            f"Pump {number}-{part} is serviced after {100 * part + number} hours of work."
            for part in range(1, 30)
        )
        (folder / f"pump_{number}.md").write_text(f"# Pump {number}\n\n{facts}\n")
    (folder / "empty.txt").write_text("")
    return folder


def run(*arguments: str):
    return CliRunner().invoke(plan, [str(argument) for argument in arguments])


def test_json_is_one_object_with_the_plan_and_its_reasons(documents, tmp_path):
    result = run(documents, "--json", "--runs", tmp_path)
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert (body["base"], body["method"]) == ("embedded", "qlora")
    assert body["files"]["used"] == 12
    assert [row["path"] for row in body["skipped_files"]] == ["empty.txt"]
    memory = body["memory"]
    peak_at = memory.pop("peak_at")
    assert peak_at in ("loss", "backward", "end", "update")
    assert memory["total_bytes"] == sum(memory.values()) - memory["total_bytes"]
    assert {"name", "value", "by", "reason"} == body["decisions"][0].keys()
    seconds = body["seconds"]
    assert seconds["total"] == pytest.approx(sum(seconds.values()) / 2, abs=0.2)
    assert {"choice", "reason"} == body["rejected"][0].keys()
    assert body["sequence_length"] == 1024
    assert body["tokens"]["train"] > 0


def test_text_tells_plan_memory_and_time(documents, tmp_path):
    result = run(documents, "--runs", tmp_path)
    assert result.exit_code == 0, result.output
    for label in ("Hardware", "Documents", "Dataset", "Plan", "Memory", "Time", "Rejected"):
        assert f"\n{label}" in f"\n{result.stdout}"
    assert "why: " in result.stdout


def test_nothing_is_left_behind(documents, tmp_path):
    run(documents, "--runs", tmp_path / "runs")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "runs").exists()


def test_settings_change_the_plan(documents, tmp_path):
    result = run(documents, "--json", "--runs", tmp_path, "--set", "tune.method=full")
    assert json.loads(result.stdout)["method"] == "full"


def test_what_was_set_is_decided_by_the_person_and_what_it_costs_is_said(documents, tmp_path):
    arguments = ("--json", "--runs", tmp_path, "--base", "embedded", "--set", "tune.rank=32")
    body = json.loads(run(documents, *arguments).stdout)
    decided = {row["name"]: row for row in body["decisions"]}
    assert decided["base"]["by"] == decided["tune.rank"]["by"] == "person"
    assert decided["base"]["reason"].endswith("; as the planner would")
    assert "the planner would take 16: " in decided["tune.rank"]["reason"]
    assert decided["tune.method"]["by"] == "planner"


def test_budget_that_nothing_keeps_is_refused_with_its_own_exit_code(documents, tmp_path):
    result = run(documents, "--runs", tmp_path, "--set", "budget.memory_gibibytes=0.2")
    assert isinstance(result.exception, ResourceError)
    assert result.exception.exit_code == ResourceError.exit_code
    assert "the budget is 205 MiB" in result.exception.why


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("--base", "org/model"), BaseModelError),
        (("--set", "tune.sequence_length=99999"), RecipeError),
        (("--set", "tune.rnak=3"), RecipeError),
    ],
)
def test_errors_come_out_as_they_are(documents, arguments, kind):
    assert isinstance(run(documents, *arguments).exception, kind)


def test_missing_folder_is_an_error_of_the_documents(tmp_path):
    assert isinstance(run(tmp_path / "nothing").exception, DocumentsError)


def test_help_shows_an_example():
    assert "appliance plan ./company_docs" in run("--help").output


def test_show_prints_examples_with_what_counts_between_brackets(documents):
    result = run(documents, "--show", "2")
    assert result.exit_code == 0, result.output
    shown = result.stdout.split("Examples", 1)[1]
    assert shown.count(" of them count") == 2
    assert "⟦# Pump" in shown
    assert "is serviced after" in shown


def test_show_keeps_a_terminal_safe_from_what_documents_hold(documents):
    (documents / "pump_1.md").write_text("# Pump \x1b[31mred\n\n" + "It is serviced. " * 400)
    assert "\x1b" not in run(documents, "--show", "50").stdout


def test_show_tells_parts_in_json(documents):
    body = json.loads(run(documents, "--show", "1", "--json").stdout)
    (example,) = body["examples"]
    assert example["num_labels"] < example["num_tokens"]
    assert {part["supervised"] for part in example["parts"]} == {True, False}
    assert "examples" not in json.loads(run(documents, "--json").stdout)
