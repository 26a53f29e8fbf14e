"""What a worker says of a fault of its own: nothing that the fault quotes.

Oracle: a canary string that stands in the exception.
"""

from __future__ import annotations

import os
import stat

from appliance.events import encode_event
from appliance.failures import describe_failure
from appliance.rundir import close_to_others

CANARY = "ptarmigan4482"


def fail(text):
    raise RuntimeError(f"cannot tokenize {text!r}")


def test_crash_report_is_private_and_what_is_told_quotes_nothing(tmp_path):
    before = os.umask(0)
    try:
        close_to_others()
        fail(CANARY)
    except RuntimeError as exc:
        told = encode_event(describe_failure(exc, tmp_path))
    finally:
        os.umask(before)

    report = tmp_path / "fault.txt"
    assert CANARY not in told
    assert CANARY in report.read_text()
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
