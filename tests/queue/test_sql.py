"""The named statements and the code that calls them by name."""

import re
import sqlite3

import pytest

from appliance.queue import sql as loader
from appliance.queue.database import load_migrations
from tests.conftest import ROOT


def find_used_names():
    sources = "\n".join(path.read_text() for path in (ROOT / "appliance" / "queue").glob("*.py"))
    calls = re.findall(r"\._(?:execute|read_job)\(\s*\"(\w+)\"", sources)
    chosen = re.findall(r"name = \"(\w+)\" if \w+ else \"(\w+)\"", sources)
    return {*calls, *(name for pair in chosen for name in pair)}


def test_every_statement_is_used_and_every_used_one_is_there():
    assert find_used_names() == set(loader.load_statements())


@pytest.mark.parametrize("name", loader.load_statements())
def test_statement_is_one_that_the_schema_knows(name):
    """Oracle: SQLite compiles it against the newest schema, with every parameter it names."""
    statement = loader.sql(name)
    db = sqlite3.connect(":memory:")
    for script in load_migrations():
        db.executescript(script)

    parameters = dict.fromkeys(re.findall(r":(\w+)", statement))

    assert db.execute(f"EXPLAIN {statement}", parameters).fetchall()
    assert statement.count(";") == 1 and statement.endswith(";")
    db.close()


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("list_live_jobs", "one_live_job_a_run"),
        ("find_live_job_of_run", "one_live_job_a_run"),
        ("next_ready", "next_to_start"),
        ("count_states", "next_to_start"),
        ("list_events_of_job", "events_of_a_job"),
        ("was_reached", "events_of_a_job"),
    ],
)
def test_statement_of_every_round_reads_no_whole_table(store, name, index):
    """What the daemon asks all the time must not grow with the jobs that ended."""
    statement = loader.sql(name)
    parameters = dict.fromkeys(re.findall(r":(\w+)", statement))

    plan = store._db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()

    steps = [row["detail"] for row in plan if "jobs" in row["detail"] or "events" in row["detail"]]
    assert steps and all(index in step for step in steps)
