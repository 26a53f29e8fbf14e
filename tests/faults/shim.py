"""The library of `shim.c`: built with the C compiler of the machine, preloaded, armed from within.

A process that was started with `preload()` in its environment may fork children, and each arms a
fault of its own: so a thousand faults need the imports of one process.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")

CALLS = ("open", "write", "sync", "rename", "remove", "mkdir", "truncate")
"""Kinds of calls, in the order of `enum call`; `open` counts what is opened for writing."""

ACTIONS = ("nothing", "kill before", "kill after", "fail once", "fail from here", "short", "signal")
"""What may happen at a call, in the order of `enum action`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that goes wrong at one call.

    Attributes:
        call: one of CALLS.
        at: its number, from 1.
        action: one of ACTIONS.
        value: number of an error, or of a signal.
    """

    call: str
    at: int
    action: str
    value: int = 0

    def __str__(self) -> str:
        """In words, for a message."""
        name = errno.errorcode.get(self.value, "") if "fail" in self.action else self.value or ""
        return f"{self.action} {name} at {self.call} {self.at}".replace("  ", " ")


NO_FAULT = Fault(call="open", at=0, action="nothing")
"""To count what a piece of work calls."""


MEMORY = Path("/dev/shm")


def choose_place() -> Path | None:
    """Where to work: in memory if there is such a place, for a process that dies loses no page.

    What a power cut loses is another matter, and `powercut.py`.
    """
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def find_why_not() -> str:
    """Why faults cannot be put into system calls here; "" when they can."""
    return "" if shutil.which("cc") else "building the library for faults needs a C compiler (cc)"


@functools.cache
def build() -> Path:
    """Compile the library once a process; the folder goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="appliance-shim-"))
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return library


def preload(**more: str) -> dict[str, str]:
    """An environment in which processes can be struck at their calls."""
    return os.environ | {"LD_PRELOAD": str(build()), "OMP_NUM_THREADS": "1"} | more


@functools.cache
def _load() -> ctypes.CDLL:
    """The library, which is in this process already."""
    return ctypes.CDLL(os.environ["LD_PRELOAD"])


def arm(root: Path, fault: Fault) -> None:
    """From now on calls under `root` are counted, and one of them meets the fault."""
    _load().fault_arm(
        os.fsencode(root),
        CALLS.index(fault.call),
        ctypes.c_long(fault.at),
        ACTIONS.index(fault.action),
        fault.value,
    )


def disarm() -> None:
    """Nothing is counted any more."""
    arm(Path(), NO_FAULT)


def count_calls() -> dict[str, int]:
    """Calls of each kind since `arm`."""
    library = _load()
    library.fault_count.restype = ctypes.c_long
    return {call: library.fault_count(number) for number, call in enumerate(CALLS)}


def has_fired() -> bool:
    """Whether the armed call came."""
    return bool(_load().fault_fired())
