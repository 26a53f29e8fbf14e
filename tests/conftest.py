"""Shared by all tests: the offline environment, and where real documents may lie."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from appliance.offline import go_offline

go_offline()
os.environ["APPLIANCE_SOCKET"] = ""  # a service of the person who runs the tests is not ours
os.environ["HF_HUB_CACHE"] = "/nonexistent"  # nor are their models
os.environ["APPLIANCE_KEYS"] = "/nonexistent"  # nor their keys

_CACHE = tempfile.mkdtemp(prefix="appliance-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE  # nor what was measured on their machine
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)


def _take_own_cores() -> None:
    """Where tests run at once, each runner and all that it starts keeps to cores of its own.

    Two trainings on the same cores slow each other down many times (docs/decisions/0008).
    """
    runner = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    num_runners = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs hear Ctrl-C, whoever started us
    own = sorted(os.sched_getaffinity(0))[int(runner or 0) :: num_runners]
    if runner and own:
        os.sched_setaffinity(0, own)


_take_own_cores()

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / "appliance" / "bases" / "embedded"


@pytest.fixture(scope="session")
def real_documents() -> Path:
    """Openly licensed corpora: $APPLIANCE_TEST_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("APPLIANCE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real documents are not here ({folder}); set APPLIANCE_TEST_DATA")
    return folder
