"""Workers in both dresses: our child, and a unit that the service manager starts for a connection.

The worker is the real one; it finds its run locked, so that it ends before its long imports.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

from appliance.daemon.child import BACKGROUND_NICENESS, ProcessChild, UnitChild
from appliance.jobs import JobRequest, WorkOrder
from appliance.recipe import Recipe
from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path):
    """A run folder, named in more than one alphabet, that somebody works on."""
    folder = tmp_path / "Prüfung-調整"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture
def order(run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    request = JobRequest(documents=str(run), base=None, recipe=Recipe(), run=str(run))
    return WorkOrder(request=request)


@pytest.fixture
def manager(tmp_path):
    """What systemd does for a socket with Accept=yes: a worker for each connection."""
    path = tmp_path / "trainer.sock"
    workers = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ear:
        ear.bind(str(path))
        ear.listen()

        def serve():
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = ear.accept()
                    with connection:
                        workers.append(
                            subprocess.Popen(
                                [sys.executable, "-m", "appliance.worker"],
                                stdin=connection,
                                stdout=connection,
                                cwd=ROOT,
                            )
                        )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path, workers
        ear.shutdown(socket.SHUT_RDWR)
        thread.join()
    for worker in workers:
        worker.kill()
        worker.wait()


def read_events(child):
    return [json.loads(line) for line in child.read_lines()]


def find_failure(events):
    (failure,) = [event for event in events if event["kind"] == "Failed"]
    return failure


def wait_for_end(pid):
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        assert select.select([descriptor], [], [], 60)[0], "it lives on"
        os.close(descriptor)


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_child_tells_in_any_language_what_stopped_it(order, run, monkeypatch, locale):
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    child = ProcessChild(order, in_background=False)

    failure = find_failure(read_events(child))

    assert failure["error"] == "BusyError"
    assert failure["what"] == f"another process works on {run}"
    assert child.wait() == "exit code 11"


def test_child_gives_way_in_the_background(order):
    child = ProcessChild(order, in_background=True)
    try:
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == BACKGROUND_NICENESS
        assert os.getsid(child.pid) == child.pid, "a Ctrl-C of the terminal does not reach it"
    finally:
        child.kill()
        child.wait()


def test_stopped_child_is_killed(order):
    child = ProcessChild(order, in_background=False)
    os.kill(child.pid, signal.SIGSTOP)

    child.kill()

    assert [line for line in child.read_lines() if "Failed" in line] == []
    assert child.wait() == "killed by signal 9 (out of memory?)"
    child.kill()  # once more: it is gone, and nobody else has its number


def test_word_to_a_dead_child_is_no_fault(order):
    child = ProcessChild(order, in_background=False)
    child.kill()
    list(child.read_lines())

    child.ask_stop()

    assert child.wait().startswith("killed by signal 9")


def test_unit_tells_over_its_connection_what_stopped_it(order, run, manager):
    path, _ = manager
    child = UnitChild(order, path)

    events = read_events(child)

    assert find_failure(events)["what"] == f"another process works on {run}"
    assert "journalctl" in child.wait()


def test_unit_is_killed_though_it_does_not_listen(order, manager):
    path, workers = manager
    child = UnitChild(order, path)
    alive = json.loads(next(child.read_lines()))
    child.know_pid(alive["pid"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(alive["pid"], signal.SIGSTOP)

    child.kill()

    wait_for_end(workers[0].pid)
    child.wait()


def test_unit_ends_when_the_daemon_lets_go_of_it(manager, tmp_path, monkeypatch):
    path, workers = manager
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        request = JobRequest(
            documents=str(tmp_path), base=None, recipe=Recipe(), run=str(tmp_path / "run")
        )
        connection.sendall(WorkOrder(request=request).model_dump_json().encode() + b"\n")
        assert connection.recv(1), "it has begun"

    wait_for_end(workers[0].pid)


def test_unit_that_nobody_starts_is_told(order, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        UnitChild(order, tmp_path / "none")
