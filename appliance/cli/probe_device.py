"""`appliance plan --probe`: two tiny trainings in a child process, and a note of what they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from appliance.daemon.child import ALLOCATOR
from appliance.errors import ResourceError
from appliance.hardware.probe import probe
from appliance.hardware.rates import identify_machine
from appliance.planning.calibration import locate_notes, record_probe
from appliance.planning.device import choose_device

LIMIT_SECONDS = 300.0
"""The child's whole life; it takes some 20 s on a core of its own."""


def probe_device(runs: Path) -> int:
    """Measure what training takes beyond the closed form, and note it for this machine.

    Args:
        runs: where runs are kept; need not exist yet.

    Returns:
        The bytes; below nought where training takes less.

    Raises:
        ResourceError: the trainings did not come to an end, or the note cannot be kept.
    """
    hardware = probe(runs)
    device = choose_device(hardware)
    order = {
        "device": device.name,
        "compute_dtype": device.compute_dtype,
        "threads": hardware.cpu.num_cores,
    }
    extra = _ask_child(order)
    path = locate_notes(identify_machine())
    try:
        record_probe(path, device.kind, extra)
    except OSError as exc:
        raise ResourceError(
            "what the probe measured cannot be kept",
            why=f"{path.parent}: {exc.strerror or type(exc).__name__}",
            fix="set XDG_CACHE_HOME to a folder that can be written",
        ) from exc
    return extra


def _ask_child(order: dict[str, object]) -> int:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "appliance.calibrate"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            env=ALLOCATOR | os.environ,
            timeout=LIMIT_SECONDS,
            check=True,
        )
        return int(json.loads(done.stdout.splitlines()[-1])["extra_bytes"])
    except (subprocess.SubprocessError, ValueError, KeyError, IndexError) as exc:
        raise ResourceError(
            "the device could not be probed",
            why=f"two tiny trainings did not come to an end ({type(exc).__name__})",
            fix="see `appliance report` for what is wrong with it, or go without --probe",
        ) from exc
