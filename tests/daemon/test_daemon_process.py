"""One daemon a state folder, its socket, its settings, its signals. Oracle: what systemd sees."""

from __future__ import annotations

import contextlib
import grp
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.errors import DiskFullError
from tests.conftest import ROOT
from tests.daemon.service import COMMAND, WAITING, Daemon, running, write_documents

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")


@pytest.fixture
def daemon(tmp_path):
    with running(tmp_path, WAITING) as daemon:
        yield daemon


def refuse(daemon, *arguments, **environment):
    """A daemon that must not start: its exit code, and what it said."""
    log = daemon.log.stat().st_size if daemon.log.exists() else 0
    process = daemon.launch(*arguments, **environment)
    try:
        code = process.wait(60)
    finally:
        process.kill()
    return code, daemon.log.read_text()[log:]


def wait_until(is_true, what):
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_second_daemon_is_refused_with_the_pid_of_the_first(daemon):
    code, said = refuse(daemon)

    assert code == 11
    assert f"its pid is {daemon.pid}" in said
    assert daemon.client.ask("GET", "/v1/status")["pid"] == daemon.pid, "its socket was not taken"


def test_daemon_of_another_state_does_not_take_the_socket(daemon, tmp_path):
    code, said = refuse(daemon, "--state", str(tmp_path / "other"))

    assert code == 11
    assert f"another service listens on {daemon.socket}" in said
    assert daemon.client.ask("GET", "/v1/status")["pid"] == daemon.pid


def test_socket_is_open_to_owner_and_group_alone(daemon):
    assert daemon.socket.stat().st_mode & 0o777 == 0o660


@needs_root
def test_socket_belongs_to_the_group_of_users(tmp_path):
    group = grp.getgrgid(65_534).gr_name
    with running(tmp_path, f"users_group: {group}\n") as daemon:
        assert daemon.socket.stat().st_gid == 65_534


def test_files_of_the_state_are_closed_to_others(daemon):
    for path in (daemon.state, *daemon.state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_socket_of_a_dead_daemon_is_replaced(daemon):
    daemon.kill()
    assert daemon.socket.exists()

    daemon.start()

    assert daemon.client.ask("GET", "/v1/status")["pid"] == daemon.pid


def test_daemon_that_leaves_takes_its_socket_and_nothing_else(daemon):
    assert daemon.stop() == 0

    assert not daemon.socket.exists()
    assert (daemon.state / "queue.sqlite3").exists()


def test_daemon_leaves_a_socket_that_is_no_longer_its_own(daemon):
    daemon.socket.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(daemon.socket))
        assert daemon.stop() == 0
        assert daemon.socket.exists()


def test_file_in_place_of_the_socket_is_not_deleted(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.socket.write_text("precious")

    code, said = refuse(daemon)

    assert code == 13
    assert f"cannot listen on {daemon.socket}" in said
    assert daemon.socket.read_text() == "precious"


def test_path_that_is_too_long_for_a_socket_is_told(tmp_path):
    code, said = refuse(Daemon(tmp_path), "--socket", str(tmp_path / ("s" * 120)))

    assert code == 13
    assert "too long for a socket" in said and "--socket" in said


def test_newer_queue_is_refused(daemon):
    daemon.stop()
    with sqlite3.connect(daemon.state / "queue.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    code, said = refuse(daemon)

    assert code == 12
    assert "newer version" in said and "Traceback" not in said


def test_damaged_queue_is_refused(daemon):
    daemon.stop()
    (daemon.state / "queue.sqlite3").write_bytes(b"no database" * 1000)

    code, said = refuse(daemon)

    assert code == 12
    assert "damaged" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jobs_at_once: 0\nsilent: 3\n", ("jobs_at_once: input should be", "silent: no such key")),
        ("[", ("it is not YAML",)),
    ],
)
def test_wrong_settings_are_refused_with_all_faults(tmp_path, text, words):
    code, said = refuse(Daemon(tmp_path, text))

    assert code == 3
    assert all(word in said for word in words) and "Traceback" not in said


def test_settings_file_that_is_not_there_is_refused_when_a_person_named_it(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.settings.unlink()

    code, said = refuse(daemon)

    assert code == 3
    assert "is not there" in said


def test_reload_takes_new_settings_and_keeps_the_old_when_they_are_wrong(daemon):
    documents = write_documents(daemon.folder / "documents", 1)

    def reload(text):
        size = daemon.log.stat().st_size
        daemon.settings.write_text(text)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "settings:" in daemon.log.read_text()[size:], "it reads them again")
        return daemon.client.ask("GET", "/v1/status")["settings_fault"]

    assert "no such key" in reload("min_free_memory: 0\n")
    job_id = daemon.submit(documents)["id"]
    daemon.wait_for(job_id, lambda row: row.get("waits_for", "").startswith("memory"))
    assert reload(WAITING + "min_free_disk_gib: 1000000.0\n") == ""
    daemon.wait_for(job_id, lambda row: row.get("waits_for", "").startswith("disk"))


def test_reload_survives_settings_that_vanished(daemon):
    daemon.settings.unlink()
    daemon.settings.mkdir()
    daemon.signal(signal.SIGHUP)

    wait_until(lambda: "settings: not changed" in daemon.log.read_text(), "it says so")
    assert daemon.client.ask("GET", "/v1/status")["pid"] == daemon.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_daemon_leaves_at_once_when_asked(daemon, number):
    daemon.signal(number)

    assert daemon.process.wait(60) == 0
    assert "Traceback" not in daemon.log.read_text()


def test_daemon_leaves_while_somebody_follows(daemon):
    documents = write_documents(daemon.folder / "documents", 1)
    job_id = daemon.submit(documents)["id"]
    lines = daemon.client.follow(job_id)
    next(lines)

    assert daemon.stop() == 0

    for _ in lines:  # it ends
        pass
    log = daemon.log.read_text()
    assert "Traceback" not in log and "ERROR" not in log and "Cancel" not in log


def test_queue_survives_the_daemon(daemon):
    documents = write_documents(daemon.folder / "documents", 1)
    ids = [daemon.submit(documents, f"tune.rank={rank}")["id"] for rank in (1, 2, 3)]

    daemon.kill()
    daemon.start()

    jobs = daemon.client.ask("GET", "/v1/jobs")["jobs"]
    assert sorted(job["id"] for job in jobs) == ids
    assert [job["interruptions"] for job in jobs] == [0, 0, 0]


def test_half_taken_folder_is_removed_at_the_next_start(daemon):
    partial = daemon.state / "documents" / "7" / ".docs-1234.partial"
    partial.mkdir(parents=True)
    (partial / "secret.txt").write_text("text")
    daemon.kill()

    daemon.start()

    assert not partial.exists()


def test_daemon_survives_a_log_that_nobody_reads(tmp_path):
    daemon = Daemon(tmp_path, WAITING)
    read_end, write_end = os.pipe()
    command = [*COMMAND, "daemon", "--state", str(daemon.state), "--socket", str(daemon.socket)]
    process = subprocess.Popen(command, stderr=write_end, cwd=ROOT)
    try:
        os.close(write_end)
        os.close(read_end)
        wait_until(daemon.socket.exists, "it listens")
        documents = write_documents(tmp_path / "documents", 1)

        daemon.submit(documents)
        daemon.submit(documents, "tune.rank=3")

        assert len(daemon.client.ask("GET", "/v1/jobs")["jobs"]) == 2
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@needs_root
def test_state_that_cannot_be_written_is_told(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    script = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "from appliance.cli.main import main; main()"
    )
    warm = "import appliance.daemon.main, appliance.cli.daemon, runpy, platformdirs;" + script
    tmp_path.chmod(0o711)

    done = subprocess.run(
        [sys.executable, "-c", warm, "daemon", "--state", closed / "state"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 6, done.stderr
    assert f"cannot write to {closed / 'state'}" in done.stderr
    assert "Permission denied" in done.stderr and "--state" in done.stderr


def test_file_in_place_of_the_state_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    code, said = refuse(Daemon(tmp_path), "--state", str(tmp_path / "file"))

    assert code == 6
    assert "cannot write to" in said and "Traceback" not in said


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB that only a daemon with this prefix sees, and its root from outside."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = f"mount -t tmpfs -o size=4m none {place} && echo mounted && exec sleep 600"
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "mounted\n"
    yield (
        ["nsenter", "--mount", "--target", str(holder.pid)],
        Path(f"/proc/{holder.pid}/root{place}"),
    )
    holder.kill()
    holder.communicate()


def fill(disk, name="ballast"):
    """Take all the room that is left; the file that took it."""
    ballast = disk / name
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


@needs_root
def test_full_disk_is_told_and_survived(tmp_path, small_disk):
    documents = write_documents(tmp_path / "documents", 1)
    daemon = Daemon(tmp_path, WAITING)
    daemon.prefix, disk = small_disk
    daemon.state = tmp_path / "disk" / "state"
    daemon.start()
    try:
        accepted = [daemon.submit(documents)["id"]]
        ballast = fill(disk)
        with pytest.raises(DiskFullError, match="the disk is full"):
            for rank in range(1, 1000):  # the log of the queue had some room left
                accepted.append(daemon.submit(documents, f"tune.rank={rank}")["id"])
        ballast.unlink()
        accepted.append(daemon.submit(documents, "tune.rank=1001")["id"])
        jobs = daemon.client.ask("GET", "/v1/jobs", limit=1000)["jobs"]
        assert [job["id"] for job in reversed(jobs)] == accepted

        ballast = fill(disk)
        assert daemon.stop() == 0, "it leaves though it cannot write"
        more = fill(disk, "more")  # the room of the log that it took away
        daemon.start()

        def find_trouble():
            return daemon.client.ask("GET", "/v1/status")["trouble"]

        wait_until(lambda: "the disk is full" in find_trouble(), "it wants to write")
        more.unlink()
        ballast.unlink()
        wait_until(lambda: not find_trouble(), "it goes on")
        assert len(daemon.client.ask("GET", "/v1/jobs", limit=1000)["jobs"]) == len(accepted)
    finally:
        daemon.process.kill()
        daemon.process.wait()
    assert "Traceback" not in daemon.log.read_text()


@needs_root
def test_service_on_a_full_disk_waits_for_room_and_a_person_is_told(tmp_path, small_disk):
    daemon = Daemon(tmp_path)
    daemon.prefix, disk = small_disk
    daemon.state = tmp_path / "disk" / "state"
    (disk / "state").mkdir()
    ballast = fill(disk)

    code, said = refuse(daemon)
    assert (code, "the disk is full" in said) == (6, True)

    try:
        with daemon.starting() as hear:
            hear("STATUS=the disk is full")
            ballast.unlink()
            hear("READY=1")
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_daemon_imports_no_torch_and_opens_no_internet_socket(daemon):
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "libtorch" not in maps
    for table in ("tcp", "tcp6", "udp", "udp6"):
        text = Path(f"/proc/{daemon.pid}/net/{table}").read_text()
        inodes = {line.split()[9] for line in text.splitlines()[1:]}
        assert not inodes & list_socket_inodes(daemon.pid)


def list_socket_inodes(pid):
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[8:-1] for link in links if link.startswith("socket:[")}
