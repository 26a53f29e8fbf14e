"""`appliance assess` as a person runs it, on a small base and part of the sample documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli.assess_text import show_assessment
from tests.e2e.conftest import SMALL, run_appliance

SETTINGS = (*SMALL, "--set", "assess.trial_tokens=2000", "--set", "assess.num_questions=6")


@pytest.fixture(scope="module")
def assessed(tmp_path_factory, small_base, documents) -> dict:
    """The result of an assessment."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = ("assess", documents, "--base", small_base, "--runs", runs, "--json", *SETTINGS)
    done = run_appliance(*arguments)
    assert done.returncode == 0, done.stderr
    return {"result": json.loads(done.stdout), "stderr": done.stderr, "arguments": arguments}


def test_assessment_measures_every_way_and_advises(assessed):
    result = assessed["result"]

    assert [way["name"] for way in result["ways"]] == [
        "base", "prompt", "search", "tuned", "tuned+search",
    ]  # fmt: skip
    assert all(way["low"] <= way["score"] <= way["high"] for way in result["ways"])
    assert all(way["seconds"] > 0 for way in result["ways"])
    assert result["recommendation"] == "too few documents to know"  # six questions decide nothing
    assert "6 held-out questions" in result["reasons"][0]


def test_assessment_makes_no_bundle_and_trains_no_more_than_the_trial(assessed):
    run = Path(assessed["result"]["run"])

    assert not (run / "bundle").exists()
    assert 0 < assessed["result"]["trial_tokens"] <= 2_000


def test_assessment_that_was_done_is_not_done_again(assessed):
    again = run_appliance(*assessed["arguments"])

    assert json.loads(again.stdout)["seconds"] == assessed["result"]["seconds"]


def test_losses_by_source_account_for_every_label(assessed):
    run = Path(assessed["result"]["run"])

    rows = [json.loads(line) for line in (run / "ways" / "sources.jsonl").read_text().splitlines()]

    totals = {group: 0 for group in ("folder", "kind")}
    for row in rows:
        totals[row["group"]] += row["num_labels"]
    report = json.loads((run / "receipts" / "ways.json").read_text())["value"]
    assert totals == {"folder": report["num_labels"], "kind": report["num_labels"]}


def test_assessment_tells_no_text_of_the_documents(assessed):
    run = Path(assessed["result"]["run"])
    told = assessed["stderr"] + (run / "events.jsonl").read_text()

    lines = (run / "ways" / "answers.jsonl").read_text().splitlines()
    assert lines
    assert not any(json.loads(line)["question"] in told for line in lines)


def test_people_are_told_the_table_and_the_advice(assessed, capsys):
    show_assessment(assessed["result"])

    told = capsys.readouterr().out
    assert "guessing scores 0.50" in told
    assert "Advice     too few documents to know" in told
    assert "tuned+search" in told
