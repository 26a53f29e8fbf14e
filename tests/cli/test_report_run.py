"""`appliance report RUN_OR_BUNDLE`. Oracle: the run it is told of."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from appliance.cli.report import report
from appliance.errors import UsageError
from appliance.events import Failed
from appliance.reports.record import SCHEMA_VERSION, RunReport
from tests.conftest import ROOT
from tests.reports.made_run import make_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run", num_files=400, ending="finished")


def run(*arguments):
    result = CliRunner().invoke(report, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_json_is_the_whole_report_with_every_file(finished):
    body = json.loads(run(finished, "--json").stdout)

    assert body["schema_version"] == SCHEMA_VERSION == 1
    assert len(body["documents"]["files"]) == 400
    assert RunReport.model_validate(body).result.run == str(finished)


def test_text_has_a_label_a_row_and_no_control_letters(finished):
    text = run(finished).stdout

    labels = {line[:11].strip() for line in text.splitlines()}
    assert {"In short", "State", "Not known", "Next"} <= labels or "Does not" in labels
    assert "\x1b[" not in text
    assert "−38.0" in text


def test_page_is_written_where_a_person_says(finished, tmp_path):
    path = tmp_path / "page.html"

    result = run(finished, "--html", path)

    assert path.read_text().startswith("<!doctype html>")
    assert str(path) in result.stderr


def test_markdown_is_printed_alone(finished):
    assert run(finished, "--markdown").stdout.startswith("# Deploy with search")


def test_refused_run_is_told_with_what_helps(tmp_path):
    refused = Failed(error="GateError", what="it is not better", why="y", fix="more documents")
    path = make_run(tmp_path / "run", until="evaluate", ending=refused)

    text = run(path).stdout

    assert "It is not better." in text and "Mend: more documents" in text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--base", "embedded"], "--base is about the machine"),
        (["--ram", "8"], "--ram is about the machine"),
        (["--json", "--markdown"], "exclude each other"),
    ],
)
def test_options_that_do_not_fit_are_refused(finished, arguments, what):
    result = CliRunner().invoke(report, [str(finished), *arguments])

    assert isinstance(result.exception, UsageError)
    assert what in result.exception.what


def test_markdown_of_the_machine_is_refused():
    result = CliRunner().invoke(report, ["--markdown"])

    assert isinstance(result.exception, UsageError)


def test_report_of_a_run_never_imports_torch(finished, tmp_path):
    command = ["-X", "importtime", "-m", "appliance", "report", str(finished)]
    done = subprocess.run(
        [sys.executable, *command, "--html", str(tmp_path / "page.html")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "onnxruntime", "peft", "bitsandbytes"}
