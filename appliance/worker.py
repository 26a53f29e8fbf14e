"""The child process that does a job: `python -m appliance.worker`, the job on stdin.

One warm process runs all stages, because the libraries behind them take seconds to import. It dies
with its parent, keeps its files closed to others, talks only through events (a JSON line each on
stdout, and kept in the run), and never touches the terminal. Its stdin and stdout are pipes, or the
two directions of one socket when the service manager starts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import sys
import threading
import time
import traceback
from pathlib import Path

from appliance.errors import ApplianceError, InterruptedRun, find_error
from appliance.events import (
    Alive,
    Event,
    Failed,
    Finished,
    Line,
    Note,
    OnEvent,
    encode_event,
    write_events_to,
)
from appliance.failures import describe_failure
from appliance.files import write_text
from appliance.jobs import REQUEST, STOP, JobRequest, WorkOrder
from appliance.offline import go_offline
from appliance.rundir import RunDir, close_to_others

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal a process gets when its parent dies."""


ALIVE_SECONDS = 5.0
"""Between two signs of life."""


def main() -> int:
    """Read a WorkOrder from stdin, do it, and return the exit code."""
    order = WorkOrder.model_validate_json(sys.stdin.readline())
    _die_with_parent()
    go_offline()
    close_to_others()
    _take_place(order)
    send = _take_stdout(order.request.debug)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    _tell_alive(send)  # before anything can fail: it carries the process number
    threading.Thread(target=_keep_telling, args=(send,), daemon=True).start()
    try:
        failure = _run(order.request, send, stop)
    except ApplianceError as exc:  # the run folder itself cannot be used
        failure = describe_failure(exc, Path(order.request.run))
    if failure is None:
        return 0
    send(failure)
    return find_error(failure.error).exit_code


def _run(request: JobRequest, send: OnEvent, stop: threading.Event) -> Failed | None:
    def on_event(event: Event) -> None:
        send(event)
        if keep is not None:
            keep(event)

    keep = None
    run = RunDir(Path(request.run), on_event, stop.is_set, fresh=request.fresh)
    keep = write_events_to(run.path / "events.jsonl")
    write_text(run.path / REQUEST, request.model_dump_json(indent=1) + "\n")
    failure: Failed | None = None
    try:
        from appliance.pipeline import LINES

        result = LINES[request.kind](request, run)
        finished = Finished(result=result.model_dump_json())
        keep(finished)
        _write_report(run.path, send)
        send(finished)
    except Exception as exc:
        failure = describe_failure(exc, run.path)
    finally:
        run.close()
    if failure is not None:
        with contextlib.suppress(OSError):  # the disk may be what failed
            keep(failure)
        _write_report(run.path, send)
    return failure


def _write_report(run: Path, send: OnEvent) -> None:
    """Write the page of the run; a job is not lost because its page is."""
    from appliance.bundle.keys import locate_keys
    from appliance.bundle.signing import tell_signers
    from appliance.reports.write import write_private

    try:
        page = write_private(run, tell_signers(run, locate_keys()))
    except Exception as exc:
        with contextlib.suppress(OSError):
            (run / "fault.txt").write_text("".join(traceback.format_exception(exc)))
        send(Note(text=f"the report could not be written ({type(exc).__name__}); see fault.txt"))
    else:
        send(Line(label="Report", text=str(page)))


def _take_place(order: WorkOrder) -> None:
    """Use only the cores and the GPU of this job; before any library counts them."""
    if order.cores:
        os.sched_setaffinity(0, order.cores)
    if order.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(order.gpu)


def _listen(stop: threading.Event) -> None:
    """Heed the parent: a line asks for an early end; when its end closes, it died, and so do we."""
    for line in sys.stdin:
        if line.strip() == STOP:
            stop.set()
    os._exit(InterruptedRun.exit_code)  # every stage can be killed at any line


def _keep_telling(send: OnEvent) -> None:
    while True:
        time.sleep(ALIVE_SECONDS)
        _tell_alive(send)


def _tell_alive(send: OnEvent) -> None:
    """A worker that says nothing here is stopped or gone; one that uses no time hangs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident_bytes = pages * os.sysconf("SC_PAGE_SIZE")
    send(Alive(pid=os.getpid(), cpu_seconds=_count_seconds(), resident_bytes=resident_bytes))


def _count_seconds() -> float:
    """Processor time of this process and of those that train for it, while they live."""
    import psutil

    seconds = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            used = child.cpu_times()
            seconds += used.user + used.system
    return seconds


def _take_stdout(debug: bool) -> OnEvent:
    """Keep the real stdout for events; whatever a library prints goes to stderr or nowhere.

    Returns:
        A function that sends an event to the parent, from any thread.
    """
    events_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sink = 2 if debug else os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    if not debug:
        os.dup2(sink, 2)
    lock = threading.Lock()

    def send(event: Event) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            events_out.write(encode_event(event) + "\n")
            events_out.flush()

    return send


def _die_with_parent() -> None:
    """Ask the kernel for our end with our parent's; a socket's other end tells it by itself."""
    if sys.platform == "linux" and not stat.S_ISSOCK(os.fstat(0).st_mode):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
