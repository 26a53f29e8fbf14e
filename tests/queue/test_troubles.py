"""What a person is told when the database cannot be used: every message has its test."""

import random
import sqlite3
import subprocess
import sys

import pytest

from appliance.errors import DiskFullError, QueueError
from appliance.queue import database
from appliance.queue.faults import explain_faults
from appliance.queue.store import Store
from tests.conftest import ROOT
from tests.faults.private_mount import IN_PRIVATE, find_why_no_mounts
from tests.queue.conftest import submit

WHY_NOT = find_why_no_mounts()


def open_store(path, clock):
    with pytest.raises(QueueError) as refused:
        Store(path, clock=clock)
    return str(refused.value)


def test_old_sqlite_is_refused(path, clock, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 26, 0))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.26.0")

    assert open_store(path, clock) == (
        "error: the SQLite of this Python is too old for the queue\n"
        "why:   it is 3.26.0, the queue needs 3.37\n"
        "fix:   use a Python that was built with a newer SQLite, such as that of the system"
    )
    assert not path.exists()


def test_missing_folder_is_named(tmp_path, clock):
    path = tmp_path / "nowhere" / "queue.sqlite3"

    message = open_store(path, clock)

    assert message.startswith(f"error: the queue cannot be opened: {path}\nwhy:   [Errno 2]")
    assert "look whether its folder is there" in message


def test_file_that_is_no_database_is_called_damaged(path, clock):
    path.write_text("this was a queue once " * 100)

    assert open_store(path, clock) == (
        f"error: the queue is damaged: {path}\n"
        "why:   file is not a database\n"
        "fix:   stop the service and move the file and its -wal away; put a back-up in its place, "
        "or start empty: a run goes on when its command is given again"
    )


def test_damaged_pages_are_found_when_the_queue_is_opened(path, clock):
    """Pages of zeros in a database of many; oracle: none of 20 places gets through."""
    store = Store(path, clock=clock)
    for n in range(150):
        submit(store, f"job{n}", request=f'"{"x" * 500}"')
    store.close()
    whole = path.read_bytes()
    chance = random.Random(5)
    for _ in range(20):
        page = chance.randrange(1, len(whole) // 4096)
        path.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])

        assert open_store(path, clock).startswith(f"error: the queue is damaged: {path}")


def test_flipped_bits_are_found_or_change_no_job(path, clock):
    """Bits of a closed queue, one at a time; oracle: the jobs before. Without checksums
    66 of 600 changed a job or its history unseen."""
    store = Store(path, clock=clock)
    for n in range(30):
        submit(store, f"job{n}", request=f'{{"documents": "/home/ada/documents-{n}"}}')
    expected = store.list_jobs(limit=None)
    store.close()
    whole = path.read_bytes()
    chance = random.Random(5)
    refused = 0
    for bit in chance.sample(range(len(whole) * 8), 150):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            store = Store(path, clock=clock)
        except QueueError as exc:
            assert exc.what and exc.why and exc.fix
            refused += 1
            continue
        assert store.list_jobs(limit=None) == expected, f"bit {bit}"
        store.close()

    assert refused > 15


def test_changed_job_of_a_queue_is_named(path, clock):
    store = Store(path, clock=clock)
    submit(store, "first")
    submit(store, "second")
    store.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE jobs SET priority = priority + 64 WHERE id = 2")
    db.commit()
    db.close()

    assert "why:   job 2 is not as it was written" in open_store(path, clock)


def test_locked_database_is_named(store, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._db.execute("PRAGMA busy_timeout = 1")

    with pytest.raises(QueueError) as refused:
        submit(store)

    assert str(refused.value) == (
        f"error: the queue is locked by another program: {path}\n"
        "why:   database is locked\n"
        "fix:   close the program that has it open (fuser tells which)"
    )
    other.execute("ROLLBACK")
    other.close()
    assert submit(store).id == 1


def test_missing_queue_is_told_to_a_reader(path):
    with pytest.raises(QueueError) as refused:
        Store.open_reader(path)

    assert str(refused.value) == (
        f"error: there is no queue at {path}\n"
        "why:   the service has never run here\n"
        "fix:   start it: appliance daemon"
    )
    path.touch()
    with pytest.raises(QueueError, match="there is no queue at"):
        Store.open_reader(path)


def test_reader_refuses_an_older_queue(store, path, monkeypatch):
    scripts = (*database.load_migrations(), "SELECT 1;")
    monkeypatch.setattr("appliance.queue.store.load_migrations", lambda: scripts)

    with pytest.raises(QueueError) as refused:
        Store.open_reader(path)

    assert str(refused.value) == (
        f"error: the queue at {path} was made by an older version of the program\n"
        f"why:   its schema is {len(scripts) - 1}, this version reads {len(scripts)}\n"
        "fix:   restart the service: it brings the queue up to date"
    )


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_read_only_disk_is_named(store, path):
    submit(store)
    store.close()
    script = (
        "import sys, time; from pathlib import Path; from appliance.queue.store import Store\n"
        "from appliance.errors import QueueError\n"
        "try: Store(Path(sys.argv[1]), clock=time.time)\n"
        "except QueueError as exc: print(exc)"
    )
    shell = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$4"'
    done = subprocess.run(
        [*IN_PRIVATE, "sh", "-c", shell, "sh", path.parent, sys.executable, script, path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )

    assert done.stdout.startswith(f"error: the queue cannot be written: {path}\n"), done.stderr
    assert "fix:   mount its disk for writing" in done.stdout


def test_disk_that_fails_is_told_apart_from_a_full_one(path):
    failing = sqlite3.OperationalError("disk I/O error")
    failing.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    with pytest.raises(QueueError) as refused, explain_faults(path):
        raise failing

    assert str(refused.value) == (
        f"error: the queue fails: {path}\n"
        "why:   disk I/O error\n"
        "fix:   look for disk errors in the journal of the system, else report this message"
    )


def test_full_disk_names_path_and_room(path):
    full = OSError(28, "No space left on device")

    with pytest.raises(DiskFullError) as refused, explain_faults(path):
        raise full

    assert refused.value.what == "the disk is full"
    assert str(path) in refused.value.why and "are free" in refused.value.why
    assert refused.value.__cause__ is full


def test_our_own_mistakes_are_not_dressed_up(store):
    with pytest.raises(sqlite3.IntegrityError):
        submit(store, request="{")
    store.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        store.list_jobs()
