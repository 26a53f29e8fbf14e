"""Finding the files of a folder, in an order that does not depend on the disk.

Nothing is opened here. Links, devices, pipes and hidden names are listed, never followed: each gets
a verdict in the ledger, written by `read.py`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.errors import DocumentsError
from appliance.values import DocumentsFolder

Kind = Literal["file", "recipe", "hidden", "link", "special", "closed", "deep"]

MAX_DEPTH = 100
"""Folders inside each other; a path that is much deeper has no name the system would take."""

RECIPE_NAME = "appliance.yaml"
"""A recipe that lies with the documents; the watch folder of the service heeds it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Something that lies in the folder.

    Attributes:
        place: relative to the folder, as the system spells it; a folder's ends with a slash.
        name: the same as text for people (see `show_name`); mostly the very same string.
        kind: a plain file; a recipe that lies with the documents; a hidden file or folder; a link;
            a device, pipe or socket; a folder that may not be opened.
        num_bytes: size of a plain file, else 0.
        modified: modification time in nanoseconds.
    """

    place: str
    name: str
    kind: Kind
    num_bytes: int
    modified: int


def scan_folder(path: Path) -> DocumentsFolder:
    """Look at a folder of documents without opening any of them.

    Raises:
        DocumentsError: it is missing, is no folder, may not be opened, or holds no file.
    """
    folder = path.expanduser().absolute()
    _check_folder(folder)
    entries = list_entries(folder)
    if not entries:
        raise DocumentsError(
            f"no documents in {folder}",
            why="the folder holds no file",
            fix="put documents into it: text, markdown, html, pdf, office, csv or json lines",
        )
    return DocumentsFolder(
        path=str(folder),
        fingerprint=fingerprint_entries(entries),
        num_files=len(entries),
        num_bytes=sum(entry.num_bytes for entry in entries),
    )


def list_entries(folder: Path) -> list[Entry]:
    """Everything below a folder that needs a verdict, sorted by name."""
    return sorted(_walk(folder), key=lambda entry: (entry.name, entry.place))


def show_name(name: str) -> str:
    """A name as text for people: what is no character, or controls a terminal, is spelled out."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return name if text == name else text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def fingerprint_entries(entries: list[Entry]) -> str:
    """sha256 over name, kind, size and modification time of every entry."""
    digest = hashlib.sha256()
    for entry in entries:
        line = f"{entry.name}\0{entry.kind}\0{entry.num_bytes}\0{entry.modified}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def _check_folder(folder: Path) -> None:
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
        if is_folder:
            os.scandir(folder).close()
    except FileNotFoundError as exc:
        raise DocumentsError(
            f"folder {folder} is not there",
            why="nothing has this name",
            fix="name an existing folder: appliance tune ./company_docs",
        ) from exc
    except PermissionError as exc:
        raise DocumentsError(
            f"folder {folder} cannot be opened",
            why="this user has no permission to list it",
            fix=f"give it permission, for example: chmod -R u+rX {folder}",
        ) from exc
    except OSError as exc:
        raise DocumentsError(
            f"folder {folder} cannot be opened",
            why=exc.strerror or type(exc).__name__,
            fix="check the disk or the network share, then run the same command again",
        ) from exc
    if not is_folder:
        raise DocumentsError(
            f"{folder} is not a folder",
            why="documents are read from a folder, this is a single file",
            fix="put the file into a folder of its own and name the folder",
        )


def _walk(root: Path) -> Iterator[Entry]:
    """Without recursion: folders may be nested deeper than a function can call itself."""
    waiting: list[tuple[os.DirEntry[str] | None, int]] = [(None, 0)]
    while waiting:
        folder, depth = waiting.pop()
        if folder is not None and depth > MAX_DEPTH:
            yield _make(root, folder, "deep")
            continue
        try:
            with os.scandir(root if folder is None else folder.path) as found:
                items = list(found)
        except OSError:
            if folder is None:
                raise
            yield _make(root, folder, "closed")
            continue
        for item in items:
            entry = _describe(root, item)
            if entry is None:
                waiting.append((item, depth + 1))
            else:
                yield entry


def _describe(root: Path, item: os.DirEntry[str]) -> Entry | None:
    """The entry of an item, or None for a folder that is to be walked."""
    if item.is_symlink():
        return _make(root, item, "link")
    if item.name.startswith("."):
        return _make(root, item, "hidden")
    if item.is_dir(follow_symlinks=False):
        return None
    if not item.is_file(follow_symlinks=False):
        return _make(root, item, "special")
    is_recipe = item.name == RECIPE_NAME and Path(item.path).parent == root
    return _make(root, item, "recipe" if is_recipe else "file")


def _make(root: Path, item: os.DirEntry[str], kind: Kind) -> Entry:
    place = os.path.relpath(item.path, root) + ("/" * item.is_dir(follow_symlinks=False))
    try:
        status = item.stat(follow_symlinks=False)
        num_bytes, modified = status.st_size, status.st_mtime_ns
    except OSError:
        num_bytes, modified = 0, 0
    return Entry(
        place=place,
        name=show_name(place),
        kind=kind,
        num_bytes=num_bytes
        if kind in ("file", "recipe", "hidden") and not place.endswith("/")
        else 0,
        modified=modified,
    )
