"""kill -9 of the processes that read documents: `kill_parsers` gives the figures.

A file whose reader dies is given to another one. Oracle: a reading that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder

NUM_DOCUMENTS = 60
GAP_SECONDS = 2.0
"""Longest time between two kills: on an idle machine a reader starts in a fifth of it."""


@dataclass(kw_only=True, slots=True)
class ParserKillFigures:
    """What became of the files.

    Attributes:
        kills: of readers.
        readings: of the whole folder.
        lost: files that are not in a corpus, and whose verdict says nothing of a crash.
        given_up: files that were left out with a verdict, for two readers died over them.
        changed: files that were read otherwise than by an undisturbed reader.
        seconds: of the whole campaign.
    """

    kills: int = 0
    readings: int = 0
    lost: int = 0
    given_up: int = 0
    changed: int = 0
    seconds: float = 0.0


def kill_parsers(*, kills: int, seed: int) -> ParserKillFigures:
    """Kill readers at random moments, through as many readings as it takes.

    Args:
        kills: how often.
        seed: of the moments.
    """
    began, chance = time.monotonic(), random.Random(seed)
    figures = ParserKillFigures()
    with tempfile.TemporaryDirectory(prefix="parser-") as name:
        folder = Path(name)
        _write_documents(folder / "documents")
        expected, _ = _read(folder / "documents", folder / "undisturbed")
        while figures.kills < kills:
            is_over = threading.Event()
            killer = threading.Thread(target=_kill_some, args=(figures, kills, chance, is_over))
            killer.start()
            try:
                found, verdicts = _read(folder / "documents", folder / f"run-{figures.readings}")
            finally:
                is_over.set()
                killer.join()
            figures.readings += 1
            missing = expected.keys() - found.keys()
            given_up = {file for file in missing if "crashed" in verdicts.get(file, "")}
            figures.given_up += len(given_up)
            figures.lost += len(missing - given_up)
            figures.changed += sum(expected[file] != found[file] for file in found)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _write_documents(folder: Path) -> None:
    folder.mkdir()
    chance = random.Random(1)
    words = ["sensor", "valve", "return", "order", "calibration", "invoice", "engineer", "week"]
    for number in range(NUM_DOCUMENTS):
        text = " ".join(chance.choices(words, k=3000))
        (folder / f"{number}.md").write_text(f"# Procedure {number}\n\n{number} {text}.\n")


def _kill_some(
    figures: ParserKillFigures, most: int, chance: random.Random, is_over: threading.Event
) -> None:
    """Kill a child of this process now and then."""
    while not is_over.wait(chance.uniform(0.1, GAP_SECONDS)) and figures.kills < most:
        children = [
            int(pid)
            for task in Path("/proc/self/task").glob("*/children")
            for pid in task.read_text().split()
        ]
        if children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(children), signal.SIGKILL)
                figures.kills += 1


def _read(documents: Path, run: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Text and verdict by file."""
    stage = run / "corpus"
    stage.mkdir(parents=True)
    read_corpus(
        scan_folder(documents),
        DocumentsRecipe(),
        StageFolder(
            name="corpus",
            folder=stage,
            run=run,
            on_event=lambda _: None,
            should_stop=lambda: False,
        ),
    )
    texts = [json.loads(line) for line in (stage / "documents.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (stage / "ledger.jsonl").read_text().splitlines()]
    return (
        {row["source"]: row["text"] for row in texts},
        {row["path"]: row["reason"] for row in rows},
    )
