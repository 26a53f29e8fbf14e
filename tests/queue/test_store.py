"""What the store promises beside the states: once, in order, whole, seen by others."""

import sqlite3
import stat
import threading

import pytest

from appliance.queue.states import Done, Drop, UnknownJobError
from appliance.queue.store import Store
from tests.queue.conftest import START, run, submit


def test_submitted_job_is_found_as_it_was_asked_for(store):
    job, is_new = store.submit(
        key="k", kind="tune", request='{"a": 1}', run="/r", owner=7, label="contracts", priority=2
    )

    found = store.find(job.id)
    assert (is_new, found) == (True, job)
    assert (found.kind, found.request, found.run) == ("tune", '{"a": 1}', "/r")
    assert (found.owner, found.label, found.priority) == (7, "contracts", 2)
    assert found.submitted_at == START


def test_same_key_is_the_same_job_even_after_it_ended(store):
    job = run(store)
    store.end(job.id, job.token, Done(result="{}"))

    again, is_new = store.submit(
        key="key-a", kind="tune", request="{}", run="/other", owner=1, label="b"
    )

    assert (again.id, is_new) == (job.id, False)
    assert store.count_states() == {"queued": 0, "running": 0, "paused": 0, "ended": 1}


def test_second_submission_for_a_live_run_is_the_same_job_for_ever(store):
    job = run(store)
    second = {"key": "second", "kind": "tune", "request": "{}", "run": job.run}

    joined, is_new = store.submit(**second, owner=1, label="b")
    store.end(job.id, job.token, Done(result="{}"))
    retried, _ = store.submit(**second, owner=1, label="b")

    assert (joined.id, is_new, retried.id) == (job.id, False, job.id)


def test_run_that_ended_can_be_submitted_again(store):
    job = run(store)
    store.end(job.id, job.token, Done(result="{}"))

    again, is_new = store.submit(
        key="new", kind="tune", request="{}", run=job.run, owner=1, label="b"
    )

    assert is_new and again.id != job.id


def test_next_is_the_highest_priority_then_the_oldest(store):
    for name, priority in [("a", 0), ("b", 5), ("c", 5), ("d", -1)]:
        submit(store, name, priority=priority)

    order = []
    while (job := store.next_ready(START)) is not None:
        order.append(job.label)
        store.start(job.id, events_from=0)

    assert order == ["b", "c", "a", "d"]


def test_job_that_waits_lets_others_pass_until_its_time(store):
    first, second = submit(store, "a"), submit(store, "b")
    store.wait(first.id, "the gpu", START + 10)

    assert store.next_ready(START).id == second.id
    assert store.next_ready(START + 10).id == first.id


def test_wait_ends_when_the_clock_was_turned_back(store, clock):
    """The time it waits for may be years away now; oracle: a wait never outlives its clock."""
    job = submit(store)
    clock.now += 400 * 86_400
    store.wait(job.id, "the gpu", clock.now + 10)
    clock.now -= 400 * 86_400

    assert store.next_ready(clock.now).id == job.id


def test_unchanged_wait_writes_nothing(store, path):
    job = submit(store)
    store.wait(job.id, "the gpu", START + 10)
    wal = path.with_name(path.name + "-wal")
    before = wal.stat().st_mtime_ns, wal.stat().st_size

    store.wait(job.id, "the gpu", START + 10)

    assert (wal.stat().st_mtime_ns, wal.stat().st_size) == before


def test_unknown_job_is_told_how_to_find_the_known_ones(store):
    with pytest.raises(UnknownJobError) as unknown:
        store.find(4)
    assert str(unknown.value) == (
        "error: there is no job 4\nwhy:   no job was ever submitted\nfix:   appliance jobs list"
    )
    submit(store)
    with pytest.raises(UnknownJobError, match="why:   the newest is job 1"):
        store.start(4, events_from=0)


def test_list_has_the_newest_first_and_goes_on_where_it_stopped(store):
    for n in range(5):
        submit(store, f"job{n}", owner=n % 2)
    job = store.start(2, events_from=0)
    store.end(2, job.token, Done(result="{}"))

    def ids(**which):
        return [job.id for job in store.list_jobs(**which)]

    assert ids() == [5, 4, 3, 2, 1]
    assert ids(limit=2) == [5, 4]
    assert ids(limit=2, before=4) == [3, 2]
    assert ids(owner=1) == [4, 2]
    assert ids(live_only=True) == [5, 4, 3, 1]
    assert ids(live_only=True, owner=1, limit=None) == [4]


def test_history_is_read_in_pages_and_never_changed(store, path):
    for n in range(4):
        submit(store, f"job{n}")

    assert [event.n for event in store.events(after=1, limit=2)] == [2, 3]
    assert [event.job for event in store.events(job_id=3)] == [3]
    with sqlite3.connect(path) as other:
        for statement in ("UPDATE events SET at = 0", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="events are never"):
                other.execute(statement)
    other.close()


def test_database_refuses_states_that_cannot_be(store, path):
    """The last line of defence, should the code above be wrong."""
    job = run(store)
    other = sqlite3.connect(path)
    for impossible in (
        "state = 'lost'",
        "state = 'ended'",
        "outcome = 'done'",
        "stop = 'explode'",
        "waits_for = 'x'",
        "pause_reason = 'x'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            other.execute(f"UPDATE jobs SET {impossible} WHERE id = {job.id}")
    other.close()


def test_reader_sees_each_change_while_the_store_writes(store, path):
    reader = Store.open_reader(path)
    for n in range(20):
        submit(store, f"job{n}")
        assert reader.count_states()["queued"] == n + 1
    store.start(1, events_from=0)

    assert reader.list_jobs(limit=None) == store.list_jobs(limit=None)
    assert reader.events() == store.events()
    reader.close()


def test_reader_cannot_write(store, path):
    submit(store)
    with Store.open_reader(path) as reader:
        reader.find(1)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("DELETE FROM drops")


def test_reader_sees_what_a_closed_store_left(store, path):
    job = submit(store)
    store.close()

    with Store.open_reader(path) as reader:
        assert reader.find(job.id) == job


def test_reopened_store_has_everything(store, path, clock):
    job = run(store)
    store.keep_drop(Drop(name="in", fingerprint="f", since=1.0))
    before = store.list_jobs(), store.events(), store.list_drops()
    store.close()

    again = Store(path, clock=clock)

    assert (again.list_jobs(), again.events(), again.list_drops()) == before
    assert again.end(job.id, job.token, Done(result="{}")).token == job.token
    again.close()


def test_files_are_closed_to_others(store, path):
    submit(store)
    store.back_up(path.with_name("copy"))

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) == {path.name, path.name + "-wal", path.name + "-shm", "copy"}
    assert set(modes.values()) == {0o600}


def test_file_that_was_opened_to_others_is_closed_again(store, path, clock):
    store.close()
    path.chmod(0o644)

    Store(path, clock=clock).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_back_up_is_a_whole_queue_and_replaces_the_one_before(store, path, clock):
    copy = path.with_name("copy")
    submit(store, "a")
    store.back_up(copy)
    submit(store, "b")
    store.back_up(copy)

    restored = Store(copy, clock=clock)
    assert restored.list_jobs() == store.list_jobs()
    assert restored.events() == store.events()
    restored.close()


def test_checkpoint_moves_the_log_even_while_somebody_reads(store, path, clock):
    submit(store)
    reader = Store.open_reader(path)
    reader.list_jobs()
    size = path.stat().st_size

    store.checkpoint_wal()

    assert path.stat().st_size > size
    reader.close()


def test_threads_share_one_store(store):
    """Oracle: as many jobs as submissions, each started once, each ended once."""
    barrier = threading.Barrier(4)
    faults = []

    def work(n):
        try:
            barrier.wait()
            for k in range(15):
                job = run(store, f"{n}-{k}")
                store.note_progress(job.id, job.token, "step")
                store.end(job.id, job.token, Done(result="{}"))
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not faults
    assert store.count_states() == {"queued": 0, "running": 0, "paused": 0, "ended": 60}
    kinds = [event.kind for event in store.events()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict.fromkeys(
        ("submitted", "started", "progress", "ended"), 60
    )


def test_second_thread_waits_for_the_transaction_of_the_first(path):
    """The clock is read inside a transaction: a second thread that comes then must wait."""
    second = threading.Thread(target=lambda: submit(store, "second"))
    waited = []

    def clock():
        if second.ident is None:
            second.start()
            second.join(timeout=0.3)
            waited.append(second.is_alive())
        return START

    store = Store(path, clock=clock)
    submit(store, "first")
    second.join()

    assert waited == [True]
    assert [job.label for job in store.list_jobs()] == ["second", "first"]
    store.close()


def test_change_that_fails_halfway_leaves_nothing(store):
    """A request that is not JSON is refused by the database after the transaction began."""
    with pytest.raises(sqlite3.IntegrityError):
        submit(store, "bad", request="{")

    assert store.list_jobs() == () and store.events() == ()
    assert submit(store, "good").id == 1


def test_inbox_is_remembered_by_name(store):
    submit(store)
    seen = Drop(name="contracts", fingerprint="f1", since=5.0)
    job_of_it = Drop(
        name="contracts", fingerprint="f2", since=6.0, submitted="f2", job_id=1, fault="odd"
    )
    odd = Drop(name="caf\udce9", fingerprint="f", since=7.0)  # bytes that are not UTF-8

    store.keep_drop(seen)
    assert store.find_drop("contracts") == seen
    store.keep_drop(job_of_it)
    store.keep_drop(odd)
    assert store.list_drops() == (odd, job_of_it)
    store.forget_drop("contracts")

    assert store.find_drop("contracts") is None
    assert store.list_drops() == (odd,)
