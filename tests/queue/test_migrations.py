"""The schema moves up, keeps a back-up, never moves down, and never stops in between."""

import sqlite3
import stat

import pytest

from appliance.errors import QueueError
from appliance.queue.database import load_migrations, open_database, read_version
from appliance.queue.store import Store
from tests.queue.conftest import submit

NEXT = """
ALTER TABLE jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'all';
CREATE INDEX jobs_of_a_tenant ON jobs (tenant);
"""
"""What the next version of the program might bring."""

LATER = "ALTER TABLE jobs ADD COLUMN colour TEXT;"


def read(path, query):
    db = sqlite3.connect(path)
    rows = db.execute(query).fetchall()
    db.close()
    return rows


@pytest.fixture
def old(path, clock):
    """A database as the first version leaves it, with one job."""
    store = Store(path, clock=clock)
    submit(store, "kept")
    store.close()
    return path


def test_new_database_has_the_newest_schema_and_no_back_up(store, path):
    assert read(path, "PRAGMA user_version") == [(len(load_migrations()),)]
    assert not list(path.parent.glob("*.v*"))


@pytest.mark.parametrize("content", ["nothing", "no tables"])
def test_database_without_tables_is_a_new_one(path, clock, content):
    """So a power cut before the first commit leaves it."""
    path.touch()
    if content == "no tables":
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode = WAL")
        db.close()

    store = Store(path, clock=clock)

    assert submit(store).id == 1
    store.close()


@pytest.mark.parametrize("new", [(NEXT,), (NEXT, LATER)])
def test_old_database_is_brought_up_and_a_back_up_is_kept(old, clock, new):
    scripts = (*load_migrations(), *new)

    open_database(old, scripts).close()

    backup = old.with_name(f"{old.name}.v{len(load_migrations())}")
    assert read(old, "PRAGMA user_version") == [(len(scripts),)]
    assert read(old, "SELECT label, tenant FROM jobs") == [("kept", "all")]
    assert read(backup, "PRAGMA user_version") == [(len(load_migrations()),)]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    restored = Store(backup, clock=clock)
    assert restored.find(1).label == "kept"
    restored.close()


def test_queue_of_the_first_version_is_brought_up_and_its_jobs_go_on(path, clock):
    """As it was before rows had checksums."""
    old = open_database_of_version_1(path)
    old.execute(
        "INSERT INTO jobs (kind, request, run, owner, label, priority, submitted_at, since)"
        " VALUES ('tune', '{}', '/run', 0, 'kept', 0, 1.0, 1.0)"
    )
    old.close()

    store = Store(path, clock=clock)
    started = store.start(1, events_from=0)
    store.close()

    assert started.label == "kept"
    assert read(path, "SELECT checksum IS NULL FROM jobs") == [(0,)]
    assert read(path.with_name(f"{path.name}.v1"), "PRAGMA user_version") == [(1,)]


def open_database_of_version_1(path):
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(load_migrations()[0] + "PRAGMA user_version = 1;")
    return db


def test_migration_happens_once(old):
    scripts = (*load_migrations(), NEXT)
    open_database(old, scripts).close()
    (backup,) = old.parent.glob("*.v*")
    backup.unlink()

    open_database(old, scripts).close()

    assert not backup.exists()


def test_migration_that_fails_changes_nothing(old, clock):
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        open_database(old, (*load_migrations(), NEXT, "INSERT INTO nowhere VALUES (1);"))

    store = Store(old, clock=clock)
    assert store.find(1).label == "kept"
    assert "tenant" not in [row["name"] for row in store._db.execute("PRAGMA table_info(jobs)")]
    store.close()


def test_migration_may_rebuild_a_table_that_others_refer_to(old):
    rebuild = """
    CREATE TABLE jobs_new AS SELECT * FROM jobs;
    DROP TABLE jobs;
    ALTER TABLE jobs_new RENAME TO jobs;
    """

    db = open_database(old, (*load_migrations(), rebuild))

    assert read_version(db) == len(load_migrations()) + 1
    assert db.execute("SELECT job FROM events").fetchone()["job"] == 1
    db.close()


@pytest.mark.parametrize("kind", [Store, Store.open_reader])
def test_newer_database_is_refused_and_left_alone(old, clock, kind):
    open_database(old, (*load_migrations(), NEXT)).close()
    before = old.read_bytes()
    known = len(load_migrations())

    with pytest.raises(QueueError) as refused:
        kind(old, clock=clock) if kind is Store else kind(old)

    assert str(refused.value) == (
        f"error: the queue at {old} was made by a newer version of the program\n"
        f"why:   its schema is {known + 1}, this version knows {known}\n"
        "fix:   install the newer version again, or put the back-up that it made in its place"
    )
    assert old.read_bytes() == before
