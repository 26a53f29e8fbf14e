"""The whole service under `kill -9`. Oracle: what was acknowledged, and an undisturbed run."""

from __future__ import annotations

import os

import pytest

from appliance.queue.states import QueueEvent
from tests.daemon.base import make_base
from tests.faults.service_kills import count_doubled, is_mixed, kill_service

KILLS = int(os.environ.get("FAULT_KILLS", "12"))


@pytest.mark.slow
@pytest.mark.timeout(600 + 30 * KILLS)
def test_killed_service_loses_and_doubles_no_job_and_ends_with_the_same_weights(tmp_path):
    figures = kill_service(tmp_path, make_base(tmp_path / "small"), kills=KILLS, seed=1)

    print(figures)
    assert figures.daemon_kills > KILLS // 2 and figures.worker_kills > KILLS // 3
    assert figures.done == figures.acknowledged > 1
    assert (figures.lost, figures.doubled, figures.wrong_weights) == (0, 0, 0)


def make_events(*kinds):
    return [
        QueueEvent(n=n, job=1, at=0.0, token=token, kind=kind, data="{}")
        for n, (kind, token) in enumerate(kinds)
    ]


def test_judge_notices_two_workers_on_one_job():
    once = make_events(("started", 1), ("crashed", 1), ("started", 2), ("ended", 2))
    beside = make_events(("started", 1), ("started", 2), ("ended", 2))
    again = make_events(("started", 1), ("interrupted", 1), ("started", 1))

    assert [count_doubled(events) for events in (once, beside, again)] == [0, 1, 1]


def test_judge_notices_steps_of_two_workers_in_one_run():
    assert not is_mixed([[1, 2, 3], [], [3, 4]])
    assert is_mixed([[1, 2, 2, 3, 3]])
