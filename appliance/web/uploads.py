"""Files that people send from their browsers: private, limited, and gone when nobody uses them.

Each upload is a folder of its own, in which files lie as they came: nothing is unpacked or read
here, that is for the converters of the service. A file is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.errors import ResourceError, UsageError
from appliance.hardware.memory import measure_disk_free
from appliance.units import format_bytes
from appliance.web.names import make_safe

KEEP_SECONDS = 24 * 3600.0
"""Unused, or after the end of its job: then an upload is removed."""

MAX_FILES = 10_000
"""Of one upload. More come in a zip, which is one file here."""

MAX_UPLOADS = 32
"""That are kept at a time."""

MIN_FREE_BYTES = 2 * 2**30
"""Of the disk, that no upload takes."""

_USED = "used.json"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ID = re.compile(r"[0-9a-f]{32}")


class TooMuchError(ResourceError):
    """An upload is larger than it may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What has come so far.

    Attributes:
        id: names it; whoever does not know it cannot find it.
        folder: of its documents; its name is what people called it.
    """

    id: str
    folder: Path
    num_files: int = 0
    num_bytes: int = 0


class Uploads:
    """All uploads of a dashboard; any thread may call."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Find those that an earlier dashboard left.

        Args:
            folder: of all uploads; made when it is needed.
            max_bytes: of all of them together; 0 allows none.
        """
        self._folder = folder
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._uploads = {upload.id: upload for upload in _list_uploads(folder)}

    def begin(self, name: str) -> Upload:
        """An empty upload.

        Args:
            name: what to call its folder.

        Raises:
            UsageError: none are allowed.
            TooMuchError: there are too many, or the disk is full.
        """
        if not self.max_bytes:
            raise UsageError(
                "this dashboard takes no uploads",
                why="whoever runs it said so",
                fix="put the files below a folder that it was allowed",
            )
        label = make_safe(name, default="documents").name
        upload_id = secrets.token_hex(16)
        with self._lock:
            if len(self._uploads) >= MAX_UPLOADS:
                raise TooMuchError(
                    "too many uploads are kept",
                    why=f"{MAX_UPLOADS} wait for their job or for its end",
                    fix="start jobs with them, or wait: unused ones are removed after a day",
                )
            self._require_room(0)
            path = self._folder / upload_id / label
            for folder in (self._folder, path.parent, path):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            upload = self._uploads[upload_id] = Upload(id=upload_id, folder=path)
        return upload

    def find(self, upload_id: str) -> Upload | None:
        """An upload; None if there is none of this id, or no longer."""
        return self._uploads.get(upload_id)

    @contextlib.contextmanager
    def receive(self, upload: Upload, name: str) -> Iterator[Callable[[bytes], None]]:
        """Take one file: a function that takes its blocks; it is there when the block has ended.

        Args:
            upload: that it belongs to.
            name: as the sender calls it, folders and all; made safe, and never overwritten.

        Raises:
            TooMuchError: the file, the upload or the disk is full.
            UsageError: its name cannot be used.
        """
        target = upload.folder / make_safe(name, default="file")
        self._add(upload.id, num_files=1)
        partial = upload.folder.parent / f".{secrets.token_hex(8)}"
        num_bytes = 0
        try:
            with os.fdopen(os.open(partial, _NEW_FILE, 0o600), "wb") as file:

                def take(block: bytes) -> None:
                    nonlocal num_bytes
                    self._add(upload.id, num_bytes=len(block))
                    num_bytes += len(block)
                    file.write(block)

                yield take
            _place(partial, target)
        except BaseException:
            self._add(upload.id, num_files=-1, num_bytes=-num_bytes)
            raise
        finally:
            partial.unlink(missing_ok=True)

    def note_use(self, upload_id: str, job: int) -> None:
        """A job reads it: it stays until a day after the end of that job."""
        upload = self._uploads.get(upload_id)
        if upload is not None:
            path = upload.folder.parent / _USED
            path.write_text(json.dumps({"job": job}))

    def sweep(self, now: float, is_over: Callable[[int], bool]) -> int:
        """Remove what nobody uses; returns how many.

        Args:
            now: seconds since 1970.
            is_over: whether a job ended a day ago, or is not known any more.
        """
        removed = 0
        for upload in list(self._uploads.values()):
            if _should_go(upload.folder.parent, now, is_over):
                with self._lock:
                    self._uploads.pop(upload.id, None)
                shutil.rmtree(upload.folder.parent, ignore_errors=True)
                removed += 1
        return removed

    def _add(self, upload_id: str, *, num_files: int = 0, num_bytes: int = 0) -> None:
        with self._lock:
            upload = self._uploads.get(upload_id)
            if upload is None:
                raise UsageError(
                    "this upload is no longer there",
                    why="it was not used for a day",
                    fix="begin again",
                )
            if num_bytes > 0:
                self._require_room(num_bytes)
            if num_files > 0 and upload.num_files + num_files > MAX_FILES:
                raise TooMuchError(
                    "the upload has too many files",
                    why=f"{MAX_FILES:,} may come one by one",
                    fix="send them as one zip; it is not unpacked here",
                )
            self._uploads[upload_id] = replace(
                upload,
                num_files=upload.num_files + num_files,
                num_bytes=upload.num_bytes + num_bytes,
            )

    def _require_room(self, num_bytes: int) -> None:
        held = sum(upload.num_bytes for upload in self._uploads.values())
        if held + num_bytes > self.max_bytes:
            raise TooMuchError(
                "there is no room for this upload",
                why=f"all uploads together may have {format_bytes(self.max_bytes)}",
                fix="start jobs with those that are here, or put the files below a folder that "
                "the dashboard was allowed",
            )
        if measure_disk_free(self._folder) - num_bytes < MIN_FREE_BYTES:
            raise TooMuchError(
                "the disk has no room for this upload",
                why=f"{format_bytes(MIN_FREE_BYTES)} of it are kept free",
                fix="free some space on the disk of the dashboard",
            )


def _place(partial: Path, target: Path) -> None:
    """Give a finished file its name; where another has it, a number is added."""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, 1000):
            free = target if number == 1 else target.with_stem(f"{target.stem} ({number})")
            with contextlib.suppress(FileExistsError):
                os.link(partial, free)  # unlike a rename, it never takes the place of another
                return
    except (FileExistsError, NotADirectoryError):
        pass
    raise UsageError(
        "a file cannot be put in its place",
        why="another file has its name, or stands where its folder should be",
        fix="give it another name",
    )


def _list_uploads(folder: Path) -> Iterator[Upload]:
    """What lies there; half-sent files go."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not _ID.fullmatch(path.name):
            continue
        for partial in path.glob(".*"):
            partial.unlink(missing_ok=True)
        labels = [each for each in path.iterdir() if each.is_dir()]
        if len(labels) != 1:
            shutil.rmtree(path, ignore_errors=True)
            continue
        sizes = [
            Path(root, name).lstat().st_size
            for root, _, names in os.walk(labels[0])
            for name in names
        ]
        yield Upload(id=path.name, folder=labels[0], num_files=len(sizes), num_bytes=sum(sizes))


def _should_go(path: Path, now: float, is_over: Callable[[int], bool]) -> bool:
    try:
        told = json.loads((path / _USED).read_text())
    except FileNotFoundError:
        return now - path.stat().st_mtime > KEEP_SECONDS if path.exists() else True
    except (OSError, ValueError):
        return False
    return is_over(int(told["job"]))
