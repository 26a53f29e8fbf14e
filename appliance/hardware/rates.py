"""Measured speeds of this machine: taken once when a person asks, kept, used by every later plan.

They are kept in the user's cache folder, for this host, processor, driver and torch; a machine that
changes is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path

from appliance.cgroup import read_core_limit
from appliance.errors import ResourceError
from appliance.files import replace_file
from appliance.hardware.ask import asking
from appliance.hardware.cpu import count_cores, read_cpu_facts
from appliance.hardware.software import find_version
from appliance.values import MeasuredRates

LIMIT_SECONDS = 40.0
"""The child's whole life: importing torch from a cold disk can take half of it."""

COMPUTE_SECONDS = 3.0
"""For products in two number formats and the stream of memory; each GPU takes half of it again."""

_FORMAT = 1


def measure(runs_folder: Path) -> MeasuredRates:
    """Measure this machine and keep the result; takes about 10 s.

    Args:
        runs_folder: where runs are written; need not exist yet.

    Raises:
        ResourceError: the measurement did not come to an end, or cannot be kept.
    """
    threads = count_cores(read_core_limit())
    arguments = {
        "folder": str(runs_folder.absolute()),
        "threads": threads,
        "seconds": COMPUTE_SECONDS,
    }
    with asking("rates", LIMIT_SECONDS, arguments) as asked:
        answer = asked.read()
    try:
        body = json.loads(answer.text) | {"measured_at": time.time()}
        rates = MeasuredRates.model_validate(body)
    except ValueError as exc:
        raise ResourceError(
            "the speed of this machine could not be measured",
            why=answer.fault or "the answer cannot be read",
            fix="run it again with less beside it, or go without --measure",
        ) from exc
    _keep(rates)
    return rates


def load_rates() -> MeasuredRates | None:
    """What was measured on this machine as it is now; None where nothing was."""
    try:
        body = json.loads(locate_rates().read_text(encoding="utf-8"))
        if body.pop("format") != _FORMAT:
            return None
        return MeasuredRates.model_validate(body)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def locate_rates() -> Path:
    """File of the measured speeds of this machine."""
    import platformdirs

    return platformdirs.user_cache_path("appliance") / f"rates-{identify_machine()}.json"


def identify_machine(system: Path = Path("/")) -> str:
    """A short hash of what the speeds depend on: host, processor, cores, driver, torch.

    Args:
        system: root of the file system that holds `proc` and `sys`.
    """
    name, sets = read_cpu_facts(system)
    try:
        driver = (system / "proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        driver = ""
    cores = count_cores(read_core_limit(system))
    facts = [platform.node(), name, sets, cores, driver, find_version("torch")]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _keep(rates: MeasuredRates) -> None:
    path = locate_rates()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replace_file(path) as temporary:
            temporary.touch(mode=0o600)
            body = rates.model_dump(mode="json") | {"format": _FORMAT}
            temporary.write_text(json.dumps(body), encoding="utf-8")
    except OSError as exc:
        raise ResourceError(
            "the measured speeds cannot be kept",
            why=f"{path.parent}: {exc.strerror or type(exc).__name__}",
            fix="set XDG_CACHE_HOME to a folder that can be written",
        ) from exc
