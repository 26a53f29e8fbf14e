"""`appliance report`. Oracle: the keys that scripts rely on, and the machine itself."""

import json

import pytest
from click.testing import CliRunner

from appliance.cli.report import report
from tests.bases.model_folder import write_model


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))


def test_json_is_one_object_with_the_machine_and_its_bases(tmp_path):
    result = CliRunner().invoke(report, ["--json", "--runs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert {"gpus", "cpu", "memory_bytes", "disk_free_bytes", "findings", "bases"} <= body.keys()
    assert all(finding.keys() == {"what", "fix"} for finding in body["findings"])
    (base,) = body["bases"]
    assert base["name"] == "embedded"
    assert [row["method"] for row in base["methods"]] == ["qlora", "adapter", "lora", "full"]
    assert all(row["needed_bytes"] > 0 for row in base["methods"])


def test_text_has_a_label_a_row_and_names_broken_bases(tmp_path):
    (write_model(tmp_path / "home" / "bases" / "bad") / "tokenizer.json").unlink()
    result = CliRunner().invoke(report, ["--runs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    labels = [line[:11].strip() for line in result.stdout.splitlines() if line[:1].strip()]
    assert {"GPU", "CPU", "Memory", "Disk", "Bases", "Broken"} <= set(labels)
    assert "bad" in result.stdout
    assert "\x1b[" not in result.stdout  # no colour in a pipe


def test_help_shows_an_example():
    assert "appliance report --json" in CliRunner().invoke(report, ["--help"]).output
