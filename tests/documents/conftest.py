"""A folder becomes a corpus, in one call."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.events import Event
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder
from appliance.values import Corpus, Document, FileVerdict


def read_lines(path):
    """The objects of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ask(converter, path, **options):
    """Let a converter read one file."""
    file = os.open(path, os.O_RDONLY)
    try:
        return converter.convert(file, path.name, **options)
    finally:
        os.close(file)


@dataclass(frozen=True, kw_only=True)
class Reading:
    corpus: Corpus
    documents: dict[str, Document]
    verdicts: dict[str, FileVerdict]
    events: list[Event]
    stage: Path

    @property
    def written(self) -> str:
        return "".join(path.read_text(encoding="utf-8") for path in self.stage.iterdir())


ReadFolder = Callable[..., Reading]


@pytest.fixture
def read_folder(tmp_path: Path) -> ReadFolder:
    def read(folder: Path, should_stop: Callable[[], bool] = lambda: False, **recipe) -> Reading:
        stage = tmp_path / "run" / "documents"
        stage.mkdir(parents=True, exist_ok=True)
        events: list[Event] = []
        corpus = read_corpus(
            scan_folder(folder),
            DocumentsRecipe(**recipe),
            StageFolder(
                name="documents",
                folder=stage,
                run=stage.parent,
                on_event=events.append,
                should_stop=should_stop,
            ),
        )
        documents = read_lines(stage / "documents.jsonl")
        verdicts = read_lines(stage / "ledger.jsonl")
        return Reading(
            corpus=corpus,
            documents={row["source"]: Document.model_validate(row) for row in documents},
            verdicts={row["path"]: FileVerdict.model_validate(row) for row in verdicts},
            events=events,
            stage=stage,
        )

    return read


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.md").write_text("# Good\n\nThis document can always be read by anybody.\n")
    return folder
