"""The power fails: what an ext4 has not put on its disk is gone, as after a pulled plug.

An image is mounted through a loop device, in a mount namespace of its own so that nothing of it
shows outside. The ioctl EXT4_IOC_SHUTDOWN stops the file system without writing what it holds in
memory; mounted again, it replays its journal. `cut_queue` and `cut_publisher` give the figures.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.errors import QueueError
from tests.conftest import ROOT
from tests.faults import publish_flow, queue_flow
from tests.faults.acks import Ack, strike
from tests.faults.private_mount import IN_PRIVATE, find_why_no_mounts

EXT4_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32) of fs/ext4/ext4.h."""

NO_LOG_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal in memory is written."""

IMAGE_BYTES = 96 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class CutFigures:
    """What became of everything that was acknowledged before a cut.

    Attributes:
        cuts: how often the power failed.
        acknowledged: changes of the queue, or artefacts, that were acknowledged.
        lost: acknowledged and not there.
        torn: visible under its final name but not whole; a queue that cannot be opened.
        published: artefacts among what was acknowledged.
        doubled: of the queue, as in `queue_flow.Findings`.
    """

    cuts: int
    acknowledged: int
    lost: int
    torn: int
    published: int = 0
    doubled: int = 0


def find_why_not() -> str:
    """Why the power cannot be cut here; "" when it can."""
    why = find_why_no_mounts("mkfs.ext4", "losetup")
    if why:
        return why
    found = subprocess.run(["losetup", "--find"], capture_output=True, check=False)
    return "cutting the power needs a free loop device" if found.returncode else ""


def cut_queue(*, cuts: int, seed: int, mode: str = "safe") -> CutFigures:
    """Cut the power under a queue that jobs flow through; `mode` of `queue_flow`."""
    return _run_in_private("queue", cuts, seed, mode)


def cut_publisher(*, cuts: int, seed: int, mode: str = "safe") -> CutFigures:
    """Cut the power while artefacts are published; `mode` of `publish_flow`."""
    return _run_in_private("publisher", cuts, seed, mode)


def _run_in_private(what: str, cuts: int, seed: int, mode: str) -> CutFigures:
    """Run this file where its mounts are seen by nobody else, and vanish with it."""
    done = subprocess.run(
        [*IN_PRIVATE, sys.executable, "-m", __name__, what, str(cuts), str(seed), mode],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    return CutFigures(**json.loads(done.stdout))


class Disk:
    """An ext4 in a file, and the place where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "image"
        self.place = folder / "disk"
        self.place.mkdir()
        with self.image.open("wb") as image:
            image.truncate(IMAGE_BYTES)

    def format(self) -> None:
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.place], check=True)

    def cut(self) -> None:
        """What is not on the disk now never will be."""
        place = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(place, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(place)


def _cut_queue(disk: Disk, cuts: int, chance: random.Random, mode: str) -> CutFigures:
    """One queue through all cuts: each finds what the one before left."""
    disk.format()
    path = disk.place / "queue.sqlite3"
    acks: list[Ack] = []
    for _ in range(cuts):
        number = queue_flow.find_next_number(acks)
        acks += _cut_once(disk, chance, queue_flow.__name__, path, number, mode)
        try:
            found = queue_flow.check(path, acks)
        except QueueError:
            return CutFigures(cuts=cuts, acknowledged=len(acks), lost=len(acks), torn=1)
        finally:
            disk.unmount()
    return CutFigures(
        cuts=cuts, acknowledged=len(acks), lost=found.lost, torn=0, doubled=found.doubled
    )


def _cut_publisher(disk: Disk, cuts: int, chance: random.Random, mode: str) -> CutFigures:
    """A new disk for each cut, for artefacts are large."""
    published = lost = torn = 0
    for _ in range(cuts):
        disk.format()
        acks = _cut_once(disk, chance, publish_flow.__name__, disk.place, mode)
        found = publish_flow.check(disk.place, acks)
        disk.unmount()
        published += len(acks)
        lost += found.lost
        torn += found.torn
    return CutFigures(cuts=cuts, acknowledged=published, published=published, lost=lost, torn=torn)


def _cut_once(disk: Disk, chance: random.Random, module: str, *arguments: object) -> list[Ack]:
    """Work, cut, mount again; what was acknowledged before the cut."""
    disk.mount()
    heard = strike(module, *arguments, seconds=chance.uniform(0, 0.3), blow=disk.cut)
    disk.unmount()
    disk.mount()
    return heard.before


def main(what: str, cuts: int, seed: int, mode: str) -> None:
    """Make the disk, cut, print the figures as JSON."""
    run: Callable[..., CutFigures] = {"queue": _cut_queue, "publisher": _cut_publisher}[what]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures = run(Disk(Path(folder)), cuts, random.Random(seed), mode)
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
