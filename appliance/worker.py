"""The child process that does a job: `python -m appliance.worker`, one job on stdin.

One warm process runs all stages, because the libraries behind them take seconds to import. It dies
with its parent, keeps its files closed to others, talks only through events (a JSON line each on
stdout, and kept in the run), and never touches the terminal.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TextIO

from appliance.errors import ApplianceError, InterruptedRun, ResourceError
from appliance.events import Event, Failed, Finished, encode_event, write_events_to
from appliance.jobs import TuneRequest
from appliance.offline import go_offline
from appliance.rundir import RunDir, close_to_others
from appliance.units import format_bytes

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal a process gets when its parent dies."""


def main() -> int:
    """Read a TuneRequest from stdin, do it, and return the exit code."""
    request = TuneRequest.model_validate_json(sys.stdin.read())
    _die_with_parent()
    go_offline()
    close_to_others()
    events_out = _take_stdout(request.debug)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        failure = _run(request, events_out, stop)
    except ApplianceError as exc:  # the run folder itself cannot be used
        failure = Failed(what=exc.what, why=exc.why, fix=exc.fix, exit_code=exc.exit_code)
    if failure is None:
        return 0
    _send(events_out, failure)
    return failure.exit_code


def _run(request: TuneRequest, events_out: TextIO, stop: threading.Event) -> Failed | None:
    def on_event(event: Event) -> None:
        _send(events_out, event)
        if keep is not None:
            keep(event)

    keep = None
    run = RunDir(Path(request.run), on_event, stop.is_set, fresh=request.fresh)
    keep = write_events_to(run.path / "events.jsonl")
    failure: Failed | None = None
    try:
        from appliance.pipeline import tune

        result = tune(request, run)
        on_event(Finished(result=result.model_dump_json()))
    except ApplianceError as exc:
        failure = Failed(what=exc.what, why=exc.why, fix=exc.fix, exit_code=exc.exit_code)
    except OSError as exc:
        failure = _describe_file_error(exc, run.path)
    except Exception as exc:
        failure = (
            _describe_memory_error(exc)
            or _describe_full_disk(exc, run.path)
            or _describe_fault(exc, run.path)
        )
    finally:
        run.close()
    if failure is not None:
        with contextlib.suppress(OSError):  # the disk may be what failed
            keep(failure)
    return failure


def _describe_file_error(exc: OSError, run: Path) -> Failed:
    if exc.errno == errno.ENOSPC:
        return _describe_full_disk(exc, run) or _describe_fault(exc, run)
    name = Path(exc.filename).name if isinstance(exc.filename, str) else ""
    return Failed(
        what=f"cannot use {name or 'a file of the run'}",
        why=exc.strerror or type(exc).__name__,
        fix="free disk space or mend permissions; run the same command again",
        exit_code=ResourceError.exit_code,
    )


def _describe_memory_error(exc: Exception) -> Failed | None:
    """Out of memory, as Python, torch's CPU allocator and CUDA say it; None for anything else."""
    text = str(exc).lower()
    refusals = ("can't allocate memory", "out of memory")
    is_torch = isinstance(exc, RuntimeError) and any(words in text for words in refusals)
    if not isinstance(exc, MemoryError) and not is_torch:
        return None
    return Failed(
        what="out of memory",
        why="the machine refused more memory than the job already has",
        fix="close other programs, or --set tune.sequence_length=512",
        exit_code=ResourceError.exit_code,
    )


def _describe_full_disk(exc: Exception, run: Path) -> Failed | None:
    """A full disk, as libraries say it that write files by themselves; None for anything else."""
    text = str(exc).lower()
    if not any(words in text for words in ("no space left", "storagefull", "os error 28")):
        return None
    free = shutil.disk_usage(run).free
    return Failed(
        what="the disk is full",
        why=f"{format_bytes(free)} are free where the run is written ({run.parent})",
        fix="free some space and run the same command again: it goes on from its last checkpoint",
        exit_code=ResourceError.exit_code,
    )


def _describe_fault(exc: Exception, run: Path) -> Failed:
    """A fault of our own: the traceback goes to a private file, never to the screen."""
    with contextlib.suppress(OSError):
        (run / "fault.txt").write_text("".join(traceback.format_exception(exc)))
    return Failed(
        what=f"the program failed ({type(exc).__name__})",
        why=f"a fault of its own; the traceback is in {run / 'fault.txt'}",
        fix="run the same command again; if it fails again, report it with that file",
        exit_code=1,
    )


def _take_stdout(debug: bool) -> TextIO:
    """Keep the real stdout for events; whatever a library prints goes to stderr or nowhere."""
    events_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sink = 2 if debug else os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    if not debug:
        os.dup2(sink, 2)
    return events_out


def _send(events_out: TextIO, event: Event) -> None:
    with contextlib.suppress(BrokenPipeError):
        events_out.write(encode_event(event) + "\n")
        events_out.flush()


def _die_with_parent() -> None:
    if sys.platform == "linux":  # every stage can be killed at any line: no need to be gentle
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it died before we asked
            os._exit(InterruptedRun.exit_code)


if __name__ == "__main__":
    sys.exit(main())
