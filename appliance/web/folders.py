"""Folders that jobs may be started on: what lies directly below the roots that were allowed.

A browser names a folder by an id that stands for its path. Only ids of folders that were found
here mean anything, so that no path ever comes from outside.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from appliance.errors import DocumentsError

MAX_FOLDERS = 500
"""That a page offers."""

MAX_COUNTED = 10_000
"""Files of a folder that are counted: more is only `more`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A folder that may be tuned on.

    Attributes:
        id: stands for its path.
        path: real path.
        num_files: found in it and below, at most `MAX_COUNTED`.
    """

    id: str
    path: Path
    num_files: int


def list_folders(roots: Sequence[Path]) -> list[Folder]:
    """Folders with files: those directly below the roots, and roots that hold files themselves."""
    found = islice((path for root in roots for path in _list_below(root)), MAX_FOLDERS)
    folders = [Folder(id=identify(path), path=path, num_files=_count_files(path)) for path in found]
    return [folder for folder in folders if folder.num_files]


def find_folder(roots: Sequence[Path], folder_id: str) -> Path:
    """The path that an id stands for.

    Raises:
        DocumentsError: no allowed folder has this id.
    """
    for root in roots:
        for path in _list_below(root):
            if identify(path) == folder_id:
                return path
    raise DocumentsError(
        "there is no such folder to start with",
        why="it is not below a folder that the dashboard was allowed, or it is gone",
        fix="choose one from the list; appliance dashboard --documents FOLDER allows another",
    )


def identify(path: Path) -> str:
    """What stands for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _list_below(root: Path) -> Iterator[Path]:
    """A root that holds files itself, then its folders by name; links are not followed."""
    try:
        with os.scandir(root) as entries:
            rows = sorted(entries, key=lambda entry: entry.name)
        if any(row.is_file(follow_symlinks=False) for row in rows):
            yield root
        for row in rows:
            if row.is_dir(follow_symlinks=False) and not row.name.startswith("."):
                yield root / row.name
    except OSError:  # gone, or closed to this process
        return


def _count_files(path: Path) -> int:
    files = (name for _, _, names in os.walk(path) for name in names)
    return sum(1 for _ in islice(files, MAX_COUNTED))
