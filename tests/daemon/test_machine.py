"""Places and obstacles. Oracle: the rules of decision 0008, by hand."""

import fcntl
import json

import pytest

from appliance.daemon.machine import (
    Claim,
    LocalSensors,
    Machine,
    Need,
    Place,
    choose_place,
    find_obstacle,
    is_run_locked,
    measure_events,
    read_need,
    subtract_claims,
)
from appliance.daemon.settings import Settings
from appliance.units import GIB
from tests.daemon.test_tick_starts import make_gpu


def make_machine(*gpus, memory=16 * GIB, cores=(0, 1, 2, 3, 4, 5)):
    return Machine(memory_free_bytes=memory, disk_free_bytes=GIB, gpus=gpus, cores=cores)


@pytest.mark.parametrize(
    ("settings", "taken", "expected"),
    [
        ({}, (), Place()),
        ({"spare_cores": 2}, (), Place(cores=(0, 1, 2, 3))),
        ({"spare_cores": 9}, (), Place(cores=(0,))),
        ({"jobs_at_once": 2}, (), Place(cores=(0, 1, 2))),
        ({"jobs_at_once": 2}, (Place(cores=(0, 1, 2)),), Place(cores=(3, 4, 5))),
        ({"jobs_at_once": 2, "spare_cores": 2}, (Place(cores=(0, 1)),), Place(cores=(2, 3))),
        ({"jobs_at_once": 9}, (), Place(cores=(0,))),
        # a reload allowed more jobs than the first one made room for
        ({"jobs_at_once": 2}, (Place(cores=(0, 1, 2, 3, 4, 5)),), Place(cores=(0, 1, 2))),
    ],
)
def test_place_on_processor_cores(settings, taken, expected):
    assert choose_place(make_machine(), Settings(**settings), taken) == expected


def test_gpu_of_its_own_is_the_free_one_with_most_memory():
    machine = make_machine(make_gpu(8 * GIB), make_gpu(24 * GIB), make_gpu(16 * GIB))
    settings = Settings(jobs_at_once=3)

    first = choose_place(machine, settings, ())
    second = choose_place(machine, settings, (first,))

    assert (first.gpu, second.gpu) == (1, 2)


def test_single_job_chooses_its_gpu_itself():
    assert choose_place(make_machine(make_gpu(8 * GIB)), Settings(), ()).gpu is None


def test_obstacle_names_the_gpu_with_most_room(tmp_path):
    machine = make_machine(make_gpu(2 * GIB), make_gpu(5 * GIB))

    words = find_obstacle(tmp_path, machine, Settings(), min_disk_bytes=0)

    assert words == "gpu 1: 5.0 GiB of 24.0 GiB free, 19.2 GiB needed"


def test_gpu_promised_to_a_worker_that_has_not_taken_it_yet_is_not_free():
    machine = make_machine(make_gpu(24 * GIB))
    need = Need(device="cuda", num_bytes=10 * GIB)

    before, after = (
        subtract_claims(
            machine,
            [Claim(place=Place(), need=need, resident_bytes=0, has_taken=has_taken)],
            Settings(),
        )
        for has_taken in (False, True)
    )

    assert before.gpus[0].free_bytes == 14 * GIB
    assert after.gpus[0].free_bytes == 24 * GIB, "the driver's own figure counts then"
    assert before.memory_free_bytes == 16 * GIB


@pytest.mark.parametrize("text", ["", "{", "[]", '{"value": {}}', '{"value": {"device": 1}}'])
def test_plan_that_cannot_be_read_is_no_plan(tmp_path, text):
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts" / "plan.json").write_text(text)

    assert read_need(tmp_path) is None


@pytest.mark.parametrize("name", ["plan", "pretrain-plan"])
def test_need_is_the_sum_of_the_plan(tmp_path, name):
    (tmp_path / "receipts").mkdir()
    plan = {"value": {"device": "cuda", "memory": {"a_bytes": 1, "b_bytes": 2, "peak_at": "loss"}}}
    (tmp_path / "receipts" / f"{name}.json").write_text(json.dumps(plan))

    assert read_need(tmp_path) == Need(device="cuda", num_bytes=3)


def test_run_is_locked_as_long_as_somebody_holds_its_lock(tmp_path):
    assert not is_run_locked(tmp_path)
    with (tmp_path / "lock").open("w") as lock:
        assert not is_run_locked(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_run_locked(tmp_path)
    assert not is_run_locked(tmp_path)


def test_run_that_was_never_begun_has_no_events(tmp_path):
    assert measure_events(tmp_path / "none") == 0


def test_sensors_measure_this_machine(tmp_path):
    machine = LocalSensors(folder=tmp_path).measure()

    assert machine.memory_free_bytes > 0
    assert machine.disk_free_bytes > 0
    assert machine.cores
