"""Held-out loss by folder and kind of file."""

import json
from types import SimpleNamespace

import numpy as np

from appliance.evaluation.scores import ExampleScores
from appliance.evaluation.sources import FILE_NAME, NO_FILE, keep_sources


def make_scores(documents, nats):
    number = len(documents)
    return ExampleScores(
        nats_E=np.array(nats, dtype=np.float64),
        labels_E=np.full(number, 10),
        bytes_E=np.full(number, 40),
        documents_E=np.array(documents),
        kinds_E=np.zeros(number, dtype=np.int64),
    )


def test_questions_that_no_document_answers_stand_by_themselves(tmp_path):
    """They have numbers of their own, which no file has."""
    sources = tmp_path / "sources.json"
    sources.write_text(json.dumps({"3": "faq/returns.md", "5": "readme.txt"}))
    documents = [3, 3, 5, -12]

    keep_sources(
        SimpleNamespace(folder=tmp_path),
        sources,
        make_scores(documents, [20, 40, 30, 50]),
        make_scores(documents, [10, 20, 30, 5]),
    )

    rows = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    told = {(row["group"], row["name"]): (row["base_loss"], row["tuned_loss"]) for row in rows}
    assert told == {
        ("folder", "faq"): (3.0, 1.5),
        ("folder", "."): (3.0, 3.0),
        ("folder", NO_FILE): (5.0, 0.5),
        ("kind", ".md"): (3.0, 1.5),
        ("kind", ".txt"): (3.0, 3.0),
        ("kind", NO_FILE): (5.0, 0.5),
    }
