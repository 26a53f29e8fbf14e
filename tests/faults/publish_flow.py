"""Publishes artefacts until it is struck; and what must hold afterwards.

    python -m tests.faults.publish_flow FOLDER {safe|unsafe}

`unsafe` syncs folders but not the files in them, to show that the harness notices.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance import files
from tests.faults.acks import Ack, acknowledge

SUMS = "sums.json"


def main(folder: Path, mode: str) -> None:
    """Publish numbered folders, replace one folder and one file again and again, until struck.

    The replaced folder is not acknowledged: between its old and its new content neither is there.
    """
    acknowledge("opening")
    if mode == "unsafe":
        whole_sync = files.sync
        files.sync = lambda path: whole_sync(path) if path.is_dir() else None
    try:
        for number in range(1_000_000):
            make_artefact(folder / "new.partial", number)
            files.publish_folder(folder / "new.partial", folder / f"new-{number}")
            acknowledge("published", f"new-{number}", number)

            make_artefact(folder / "again.partial", number)
            receipt = folder / "again.json"
            receipt.unlink(missing_ok=True)  # as a run does: no receipt vouches for a half folder
            files.publish_folder(folder / "again.partial", folder / "again")
            files.write_text(receipt, frame(number))

            with files.replace_file(folder / "file.json") as temporary:
                temporary.write_text(frame(number))
            acknowledge("replaced", "file.json", number)
    except OSError:  # the disk is gone
        sys.exit(3)


def make_artefact(folder: Path, number: int) -> None:
    """A folder like that of a stage: files of several sizes, one in a folder of its own, and sums.

    Args:
        folder: is made, or emptied.
        number: decides the content.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "deep").mkdir(parents=True)
    chance = random.Random(number)
    sums = {}
    for name in ("weights", "deep/tokens", "empty"):
        data = chance.randbytes(0 if name == "empty" else chance.randrange(1, 40_000))
        (folder / name).write_bytes(data)
        sums[name] = hashlib.sha256(data).hexdigest()
    (folder / SUMS).write_text(frame(number, sums=sums))


def frame(number: int, **body: object) -> str:
    """A JSON text that shows when a piece of it is missing."""
    return json.dumps({"number": number, **body, "filler": "x" * 6000, "end": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What is wrong with the artefacts.

    Attributes:
        lost: acknowledged and not there, or older than acknowledged.
        torn: under its final name, but not whole.
    """

    lost: int
    torn: int


def check(folder: Path, acks: Iterable[Ack]) -> Findings:
    """Hold what lies in the folder against what was acknowledged."""
    visible = {path.name for path in folder.iterdir() if is_final(path.name)}
    numbers = {name: read_number(folder, name) for name in visible}
    newest = {name: number for _, name, number in acks}
    return Findings(
        lost=sum(
            name not in visible or (numbers[name] or 0) < number for name, number in newest.items()
        ),
        torn=sum(number is None for number in numbers.values()),
    )


def is_final(name: str) -> bool:
    """A name that a reader would trust; the replaced folder is trusted for its receipt."""
    return name.startswith("new-") or name in ("file.json", "again.json")


def read_number(folder: Path, name: str) -> int | None:
    """Which number an artefact has; None when it is torn."""
    try:
        if name.startswith("new-"):
            return read_artefact(folder / name)
        number = int(json.loads((folder / name).read_text())["number"])
        is_whole = name != "again.json" or read_artefact(folder / "again") == number
        return number if is_whole else None
    except (OSError, ValueError, KeyError):
        return None


def read_artefact(folder: Path) -> int:
    """The number of a folder. Raises OSError, ValueError or KeyError when it is not whole."""
    body = json.loads((folder / SUMS).read_text())
    for name, wanted in body["sums"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
            raise ValueError(name)
    return int(body["number"])


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]), sys.argv[2])
