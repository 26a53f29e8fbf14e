"""A folder full of files that were made to break a reader, and a few good ones among them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from tests.documents.hostile.containers import make_containers
from tests.documents.hostile.texts import make_texts

GOOD = tuple(f"{letter}_good.md" for letter in "amz")


def make_folder(folder: Path) -> None:
    """Fill a folder; what the system does not allow (a device, for a plain user) is left out."""
    folder.mkdir()
    for number, name in enumerate(GOOD):
        (folder / name).write_text(f"# Good {number}\n\nRule {number} is kept by all of us here.\n")
    for name, data in (make_texts() | make_containers()).items():
        (folder / name).write_bytes(data)
    with (folder / "sparse_gigabyte.txt").open("wb") as file:
        file.truncate(2**30)
    _make_odd_names(folder)
    _make_odd_kinds(folder)
    _make_deep_folders(folder)


def _make_odd_names(folder: Path) -> None:
    for number, name in enumerate(
        ("new\nline.md", "esc\x1b[31mred\x07.md", "right\u202etxt.md", "x" * 252 + ".md", " .md",
         "-rf.md", "$(touch owned).md", "a'; drop table texts;--.md")
    ):  # fmt: skip
        (folder / name).write_text(f"An odd name, number {number}, stands above these words.")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\xff.md")).write_text(
        "A name that is not text stands above these words."
    )


def _make_odd_kinds(folder: Path) -> None:
    (folder / "passwd.md").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self.md").symlink_to("self.md")
    (folder / "nowhere.md").symlink_to("/nonexistent/file")
    os.mkfifo(folder / "pipe.md")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket has a length limit
        listener.bind("socket.md")
        os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(folder / "zero.md", stat.S_IFCHR | 0o666, os.makedev(1, 5))


def _make_deep_folders(folder: Path) -> None:
    """Deeper than is read (and not so deep that pytest could not remove them)."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(150):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("deep.md", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here)
    os.write(file, b"Words at the bottom of very many folders.")
    os.close(file)
    os.close(here)
