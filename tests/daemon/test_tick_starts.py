"""Which job starts, and what it waits for. Oracle: the settings and the figures of the machine."""

import fcntl
import json

import pytest

from appliance.daemon.settings import Settings
from appliance.daemon.starts import WAIT_SECONDS
from appliance.daemon.tick import NOT_FREE_SECONDS
from appliance.units import GIB
from appliance.values import Gpu
from tests.daemon.conftest import DONE, Loop, fail


def make_gpu(free, total=24 * GIB, **others):
    about = {"name": "card", "capability": "8.9", "supports_bf16": True, "usable": True} | others
    return Gpu(total_bytes=total, free_bytes=free, **about)


def write_plan(run, device, num_bytes):
    """The receipt of a plan, as an earlier attempt leaves it."""
    (run / "receipts").mkdir(parents=True)
    plan = {"value": {"device": device, "memory": {"weights_bytes": num_bytes}}}
    (run / "receipts" / "plan.json").write_text(json.dumps(plan))


@pytest.fixture
def pair(tmp_path):
    """A loop with two places."""
    loop = Loop(tmp_path, Settings(jobs_at_once=2))
    yield loop
    loop.store.close()


def list_running(loop):
    return [job_id for job_id, _ in loop.workers.orders]


def test_jobs_start_by_priority_then_in_order(loop):
    ids = [loop.submit("a"), loop.submit("b", priority=5), loop.submit("c")]

    for _ in ids:
        loop.turn()
        loop.finish(list_running(loop)[-1], DONE)

    assert list_running(loop) == [ids[1], ids[0], ids[2]]
    assert [loop.find_outcome(job_id) for job_id in ids] == ["Done"] * 3


def test_no_more_jobs_start_than_the_settings_allow(pair):
    ids = [pair.submit(name) for name in "abc"]

    pair.turn()

    assert list_running(pair) == ids[:2]
    assert pair.find_state(ids[2]) == "Queued"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": GIB}, "memory: 1.0 GiB free, 2.0 GiB needed"),
        ({"disk": GIB // 2}, "disk: 512 MiB free, 1.0 GiB wanted"),
        ({"gpus": (make_gpu(4 * GIB),)}, "gpu 0: 4.0 GiB of 24.0 GiB free, 19.2 GiB needed"),
    ],
)
def test_job_waits_and_says_for_what(loop, changes, words):
    was = {name: getattr(loop.sensors, name) for name in changes}
    vars(loop.sensors).update(changes)
    job_id = loop.submit()

    loop.turn()
    assert loop.find(job_id).state.waits_for == words

    vars(loop.sensors).update(was)
    loop.turn()
    assert loop.find_state(job_id) == "Queued", "it does not look again at once"
    loop.turn(WAIT_SECONDS)
    assert loop.find_state(job_id) == "Running"


def test_job_with_a_plan_waits_for_what_the_plan_takes(loop):
    write_plan(loop.folder / "a", "cpu", 12 * GIB)
    loop.sensors.memory = 11 * GIB

    job_id = loop.submit()
    loop.turn()
    assert loop.find(job_id).state.waits_for == "memory: 11.0 GiB free, 12.0 GiB needed"

    loop.sensors.memory = 12 * GIB
    loop.turn(WAIT_SECONDS)
    assert loop.find_state(job_id) == "Running"


def test_job_planned_for_a_gpu_starts_beside_a_tenant_that_leaves_enough(loop):
    write_plan(loop.folder / "a", "cuda", 6 * GIB)
    loop.sensors.gpus = (make_gpu(7 * GIB),)

    loop.begin()


def test_job_waits_while_another_process_works_on_its_run(loop):
    run = loop.folder / "a"
    run.mkdir()
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        job_id = loop.submit()
        loop.turn()
        assert loop.find(job_id).state.waits_for == "another process that works on the same run"

    loop.turn(WAIT_SECONDS)
    assert loop.find_state(job_id) == "Running"


def test_job_that_waits_lets_a_smaller_one_pass(loop):
    write_plan(loop.folder / "large", "cpu", 64 * GIB)
    large, small = loop.submit("large", priority=5), loop.submit("small")

    loop.turn()

    assert list_running(loop) == [small]
    assert loop.find(large).state.waits_for.startswith("memory")


def test_two_jobs_do_not_count_on_the_same_free_memory(pair):
    for name in "ab":
        write_plan(pair.folder / name, "cpu", 10 * GIB)
    ids = [pair.submit(name) for name in "ab"]

    pair.turn()

    assert list_running(pair) == ids[:1], "16 GiB are free, each takes 10"
    assert pair.find(ids[1]).state.waits_for == "memory: 6.0 GiB free, 10.0 GiB needed"


def test_memory_that_a_worker_holds_already_is_not_counted_twice(pair):
    for name in "ab":
        write_plan(pair.folder / name, "cpu", 10 * GIB)
    first = pair.begin("a")
    pair.workers.tell(first, resident_bytes=9 * GIB)
    pair.sensors.memory = 12 * GIB  # what the machine says is free without those 9

    pair.begin("b")


def test_worker_that_cannot_be_started_puts_the_job_back(loop):
    loop.workers.refusal = BlockingIOError(11, "Resource temporarily unavailable")
    job_id = loop.submit()

    loop.turn()
    job = loop.find(job_id)
    assert job.state.waits_for == "a worker that can be started (Resource temporarily unavailable)"
    assert (job.crashes, loop.workers.orders) == (0, [])

    loop.workers.refusal = None
    loop.turn(WAIT_SECONDS)
    assert loop.find_state(job_id) == "Running"


def test_fresh_start_is_made_until_something_was_achieved(loop):
    job_id = loop.submit(fresh=True)
    loop.workers.refusal = OSError("not now")
    loop.turn()
    loop.workers.refusal = None
    loop.turn(WAIT_SECONDS)
    assert loop.workers.orders[-1][1].request.fresh, "nobody has emptied the run yet"

    loop.finish(job_id, end="killed by signal 9", marker="corpus")
    loop.turn(60)

    assert not loop.workers.orders[-1][1].request.fresh
    assert loop.find(job_id).attempts == 3


def test_fresh_start_forgets_the_events_of_earlier_jobs(loop):
    run = loop.folder / "a"
    run.mkdir()
    (run / "events.jsonl").write_text('{"kind": "Note", "at": 1, "text": "old"}\n')

    job_id = loop.begin(fresh=True)

    assert loop.find(job_id).events_from == 0
    assert not (run / "events.jsonl").exists()


def test_events_of_an_attempt_begin_behind_the_earlier_ones(loop):
    run = loop.folder / "a"
    run.mkdir()
    (run / "events.jsonl").write_text("x" * 99 + "\n")

    assert loop.find(loop.begin()).events_from == 100


def test_job_whose_memory_was_taken_after_the_start_waits_without_blame(loop):
    job_id = loop.begin()
    loop.finish(job_id, fail("NotFreeError", why="gpu 0: 3 GiB free"))

    job = loop.find(job_id)
    assert (job.state.waits_for, job.crashes) == ("gpu 0: 3 GiB free", 0)
    assert job.waits_until == loop.now + NOT_FREE_SECONDS


def test_job_that_this_version_cannot_read_fails_and_the_others_go_on(loop):
    broken, _ = loop.store.submit(
        key="old", kind="tune", request='{"of": "another version"}', run="/x", owner=0, label="x"
    )
    good = loop.submit("good")

    loop.turn()

    assert loop.find_outcome(broken.id) == "Failed"
    assert "version" in loop.find(broken.id).state.outcome.why
    assert loop.find_state(good) == "Running"


def test_documents_that_were_replaced_by_a_link_are_not_read(loop):
    (loop.folder / "private").mkdir()
    (loop.folder / "documents").symlink_to("private")

    job_id = loop.submit()
    loop.turn()

    assert loop.find_outcome(job_id) == "Failed"
    assert loop.find(job_id).state.outcome.what == "the documents are not where they were"


def test_job_canceled_in_the_middle_of_a_round_is_left_alone(loop):
    job_id = loop.submit()
    measure = loop.sensors.measure

    def cancel_and_measure():
        loop.store.ask_stop(job_id, "cancel")
        return measure()

    loop.sensors.measure = cancel_and_measure
    loop.turn()

    assert loop.find_outcome(job_id) == "Canceled"
    assert loop.workers.orders == []


def test_jobs_side_by_side_get_cores_and_gpus_of_their_own(pair):
    pair.sensors.gpus = (make_gpu(24 * GIB), make_gpu(24 * GIB))
    for name in "ab":
        pair.submit(name)

    pair.turn()

    places = [(order.cores, order.gpu) for _, order in pair.workers.orders]
    assert sorted(places) == [((0, 1), 0), ((2, 3), 1)]


def test_nothing_starts_while_the_service_leaves(loop):
    job_id = loop.submit()

    loop.turn(is_draining=True)

    assert loop.find_state(job_id) == "Queued"
    assert loop.workers.orders == []
