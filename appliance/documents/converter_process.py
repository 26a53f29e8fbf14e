"""Starting a converter of our own: little in its surroundings, one end of a socket as its input."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import appliance


def start_process(memory_bytes: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A converter of our own, and our end of its socket."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(Path(appliance.__file__).parent.parent),
        "PYTHONUTF8": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MiB of the memory limit
        "RAYON_NUM_THREADS": "1",
        "TOKIO_WORKER_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with its:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "appliance.documents.convert", str(memory_bytes)],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
        except OSError:
            ours.close()
            raise
    return ours, process
