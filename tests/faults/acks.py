"""How a process that will be struck tells what it has done, and how the harness hears it.

The child prints a JSON line for each thing that it would tell a client is safe, with the time at
which it knew. The harness strikes at some moment, and later holds what it finds against the lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.conftest import ROOT

Ack = list[Any]
"""A word and its arguments."""


def acknowledge(*words: Any) -> None:
    """Tell the harness, at once and in one piece."""
    os.write(1, json.dumps([time.monotonic(), *words]).encode() + b"\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What a child told before it was struck, and whether the rest came after."""

    before: list[Ack]
    after: list[Ack]


def strike(module: str, *arguments: object, seconds: float, blow: Callable[[], None]) -> Heard:
    """Run a child, let `blow` fall some seconds after it began to work, and kill it.

    Args:
        module: of the child; its first line says that it begins.
        arguments: of the child.
        seconds: from its first line to the blow.
        blow: what happens to it; afterwards it is killed in any case.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline(), f"{module} could not begin"
    time.sleep(seconds)
    struck_at = time.monotonic()
    blow()
    child.kill()
    lines = child.stdout.read().split(b"\n")[:-1]
    child.stdout.close()
    child.wait()
    stamped = [json.loads(line) for line in lines]
    return Heard(
        before=[words for at, *words in stamped if at < struck_at],
        after=[words for at, *words in stamped if at >= struck_at],
    )
