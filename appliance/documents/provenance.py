"""What became of files: how a folder differs from what a run read, and which runs used a file.

Answers come from the ledgers of the runs, by the hash of the bytes. Nothing is converted.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from appliance.documents.opening import hash_descriptor, open_below
from appliance.documents.walk import Entry, list_entries, scan_folder
from appliance.errors import DocumentsError
from appliance.files import hash_file
from appliance.values import FileVerdict, TokenVerdict, Value

V = TypeVar("V", bound=Value)

LEDGER = Path("corpus", "ledger.jsonl")
_TOKENS = Path("dataset", "ledger.jsonl")
_MANIFEST = Path("bundle", "manifest.json")


class FolderChanges(Value):
    """How a folder differs from what a run read; names are relative to the folder.

    Attributes:
        added: files that the run did not see.
        changed: files whose bytes are others now.
        removed: files that the run read and that are gone.
        num_unchanged: all other files.
    """

    run: str
    folder: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    num_unchanged: int


class FileUse(Value):
    """What a run did with a file.

    Attributes:
        run: its folder.
        path: the file's name in the run's documents; in an archive, behind the archive's name.
        is_same: these very bytes; else a file of this name with other bytes.
        verdict: of the ledger.
        reason: why it was not used.
        duplicate_of: the file that was used in its place.
        splits: what it, or the file in its place, was used for.
        bundle: folder of the bundle that was made from these documents; empty if there is none.
    """

    run: str
    path: str
    is_same: bool
    verdict: Literal["used", "duplicate", "skipped"]
    reason: str
    duplicate_of: str
    splits: tuple[Literal["train", "valid", "test"], ...]
    bundle: str

    @property
    def is_trained_on(self) -> bool:
        """Whether its text stands in the training split."""
        return "train" in self.splits


def compare_folder(run: Path, folder: Path) -> FolderChanges:
    """Hold a folder against the ledger of a run.

    Raises:
        DocumentsError: the run read no documents, or the folder cannot be used.
    """
    seen = _group_by_file(read_ledger(run))
    scan_folder(folder)
    root = folder.expanduser().absolute()
    here = {entry.name: entry for entry in list_entries(root)}
    both = [name for name in here if name in seen]
    changed = tuple(name for name in both if not _is_unchanged(seen[name], here[name], root))
    return FolderChanges(
        run=str(run),
        folder=str(folder),
        added=tuple(name for name in here if name not in seen),
        changed=changed,
        removed=tuple(name for name in sorted(seen) if name not in here),
        num_unchanged=len(both) - len(changed),
    )


def find_uses(file: Path, runs: Path) -> list[FileUse]:
    """What each run did with a file, by its bytes; by its name where only that is the same.

    Args:
        file: need not be there any more: then only its name is looked for.
        runs: the folder of all runs.

    Raises:
        DocumentsError: there is no such folder.
    """
    if not runs.is_dir():
        raise DocumentsError(
            f"folder {runs} is not there",
            why="runs are looked for in it",
            fix="name the folder of your runs: --runs DIR",
        )
    sha256 = _hash_file(file)
    uses = []
    for run in sorted(path for path in runs.iterdir() if (path / LEDGER).is_file()):
        splits = _read_splits(run)
        for verdict in read_ledger(run):
            is_same = bool(sha256) and verdict.sha256 == sha256
            if is_same or Path(verdict.path).name == file.name:
                uses.append(_describe(run, verdict, splits, is_same=is_same))
    return uses


def find_same_text(run: Path, name: str) -> list[FileVerdict]:
    """The verdicts on a file and on all files that say the same, exactly or nearly.

    Those are its duplicates, what was used in its place, and the duplicates of these.

    Args:
        run: that read it.
        name: of the file in the run's documents.
    """
    verdicts = read_ledger(run)
    names, before = {name}, 0
    while len(names) > before:
        before = len(names)
        for verdict in verdicts:
            pair = {verdict.path, verdict.duplicate_of} - {""}
            if verdict.duplicate_of and pair & names:
                names |= pair
    return [verdict for verdict in verdicts if verdict.path in names and verdict.sha256]


def read_ledger(run: Path) -> list[FileVerdict]:
    """The verdicts of a run.

    Raises:
        DocumentsError: it has none, or they cannot be read.
    """
    path = run / LEDGER
    if not path.is_file():
        raise DocumentsError(
            f"{run} holds no ledger of documents",
            why=f"there is no {LEDGER} in it",
            fix="name the folder of a run, such as runs/company_docs-c8a31b",
        )
    return list(_read_lines(path, FileVerdict))


def _read_lines(path: Path, kind: type[V]) -> Iterator[V]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield kind.model_validate_json(line)
            except ValidationError as exc:
                raise DocumentsError(
                    f"{path} cannot be read",
                    why="it is damaged, or of a newer version of this program",
                    fix="run the job again: it reads only what changed",
                ) from exc


def _group_by_file(verdicts: list[FileVerdict]) -> dict[str, FileVerdict]:
    """One verdict for each file of the folder; of an archive, the first of its members."""
    files: dict[str, FileVerdict] = {}
    for verdict in verdicts:
        files.setdefault(verdict.archive or verdict.path, verdict)
    return files


def _is_unchanged(verdict: FileVerdict, entry: Entry, root: Path) -> bool:
    """By hash; by size for what was too large to be read; links and the like by name."""
    known = verdict.archive_sha256 or verdict.sha256
    if entry.kind != "file":
        return not known
    if not known:
        return verdict.num_bytes == entry.num_bytes
    try:
        file = open_below(root, entry.place)
    except OSError:
        return False
    try:
        return hash_descriptor(file) == known
    finally:
        os.close(file)


def _hash_file(path: Path) -> str:
    try:
        return hash_file(path)
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise DocumentsError(
            f"{path} cannot be read",
            why=exc.strerror or type(exc).__name__,
            fix="name a file that this user may read",
        ) from exc


def _read_splits(run: Path) -> dict[str, set[str]]:
    """For what each document was used, by its name."""
    splits: dict[str, set[str]] = defaultdict(set)
    path = run / _TOKENS
    if path.is_file() and _is_newer(path, run / LEDGER):
        for row in _read_lines(path, TokenVerdict):
            if row.num_used:
                splits[row.source].add(row.split)
    return splits


def _describe(
    run: Path, verdict: FileVerdict, splits: dict[str, set[str]], *, is_same: bool
) -> FileUse:
    manifest = run / _MANIFEST
    has_bundle = manifest.is_file() and _is_newer(manifest, run / LEDGER)
    used_for = splits.get(verdict.duplicate_of or verdict.path, set())
    return FileUse(
        run=str(run),
        path=verdict.path,
        is_same=is_same,
        verdict=verdict.verdict,
        reason=verdict.reason,
        duplicate_of=verdict.duplicate_of,
        splits=tuple(name for name in ("train", "valid", "test") if name in used_for),
        bundle=str(manifest.parent) if has_bundle else "",
    )


def _is_newer(later: Path, earlier: Path) -> bool:
    """Whether a stage's file was made from an earlier stage's, not from what that was before."""
    return later.stat().st_mtime_ns >= earlier.stat().st_mtime_ns
