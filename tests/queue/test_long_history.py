"""A long history is read by pages: what an answer costs does not grow with the jobs that ended.

Oracle: the instructions that SQLite executes, which are the same for a short and a long history.
"""

from __future__ import annotations

import sqlite3

import pytest

from tests.queue.conftest import bring_to

PAGE = 50


def lengthen(path, num_jobs):
    """Copies of the last job, until there are so many."""
    db = sqlite3.connect(path)
    with db:
        names = [row[1] for row in db.execute("PRAGMA table_info(jobs)") if row[1] != "id"]
        (known,) = db.execute("SELECT count(*) FROM jobs").fetchone()
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            f"INSERT INTO jobs ({', '.join(names)}) SELECT {', '.join(names)} FROM jobs, n "
            "WHERE jobs.id = (SELECT max(id) FROM jobs)",
            (num_jobs - known,),
        )
    db.close()


def count_instructions(store, ask):
    """What SQLite does for a question, in instructions of its machine."""
    counted = []
    store._db.set_progress_handler(lambda: counted.append(1), 1)
    try:
        ask()
    finally:
        store._db.set_progress_handler(None, 1)
    return len(counted)


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.list_jobs(owner=None, limit=PAGE),
        lambda store: store.list_jobs(owner=None, limit=PAGE, before=100),
        lambda store: store.list_jobs(live_only=True, limit=None),
        lambda store: store.find(60),
    ],
    ids=["newest", "older", "live", "one"],
)
def test_page_of_a_long_history_costs_what_one_of_a_short_history_does(store, path, ask):
    bring_to(store, "done")
    lengthen(path, 200)
    few = count_instructions(store, lambda: ask(store))
    lengthen(path, 2_000)

    many = count_instructions(store, lambda: ask(store))

    assert many == few > 0


def test_page_of_a_long_history_is_no_longer_than_asked_for(store, path):
    bring_to(store, "done")
    lengthen(path, 2_000)

    newest = store.list_jobs(owner=None, limit=PAGE)
    older = store.list_jobs(owner=None, limit=PAGE, before=newest[-1].id)

    assert [job.id for job in newest + older] == list(range(2_000, 1_900, -1))
