"""Look at a unit's cage from inside: run a few lines of Python in the unit itself.

A drop-in replaces the unit's program by one that reads code from its connection. User, namespaces,
filters and limits stay those of the unit file.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.systemd.conftest import write_dropin
from tests.systemd.machine import Machine

PROGRAM = "/opt/appliance/venv/bin/python"

READ_CODE = (
    "import os; line = iter(lambda: os.read(0, 1), bytes([10])); "
    "exec(bytes.fromhex(bytes().join(line).decode()))"
)
"""Reads byte by byte, or a descriptor that comes after the line would be lost in a buffer."""

PRELUDE = """
import ctypes, errno, json, os, socket
def try_to(function, *arguments):
    try:
        function(*arguments)
    except OSError as exc:
        return errno.errorcode.get(exc.errno, str(exc.errno))
    return "done"
def read(path):
    with open(path, "rb") as file:
        file.read(1)
def write(path):
    with open(path, "wb") as file:
        file.write(b"x")
def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)
def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
def tell(answer):
    print(json.dumps(answer), flush=True)
"""
"""What the code of every look may use; `try_to` gives "done" or the name of the error."""

UNITS = ("appliance-trainer@.service", "appliance-parser@.service")


def open_cages(machine: Machine, more: str = "") -> None:
    """Let code into the units, from now on; with further lines for their service sections."""
    program = f'ExecStart=\nExecStart={PROGRAM} -c "{READ_CODE}"\n'
    for unit in UNITS:
        write_dropin(machine, unit, f"[Service]\n{program}{more}")


def look_inside(
    machine: Machine, unit: str, code: str, *, descriptors: tuple[int, ...] = ()
) -> Any:
    """Run code in a new instance of a unit; what it gave to `tell`."""
    line = (PRELUDE + code).encode().hex().encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(str(machine.open(f"/run/appliance/{unit}.sock")))
        connection.sendall(line)
        if descriptors:
            socket.send_fds(connection, [b"x"], list(descriptors))
        with connection.makefile("rb") as answer:
            words = answer.readline()
    assert words, f"{unit} said nothing\n{machine.tell_all()}"
    return json.loads(words)
