"""`appliance plan`. Oracle: the keys that scripts rely on, and sums of the terms."""

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli.plan import plan
from appliance.errors import BaseModelError, DocumentsError, RecipeError


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
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
    assert memory["total_bytes"] == sum(memory.values()) - memory["total_bytes"]
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
