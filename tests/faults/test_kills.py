"""The queue under `kill -9`. Oracle: what was acknowledged before the blow."""

import os

import pytest

from tests.faults.kills import kill_queue

KILLS = int(os.environ.get("FAULT_KILLS", "60"))


@pytest.mark.slow
def test_killed_queue_loses_and_doubles_nothing(tmp_path):
    figures = kill_queue(tmp_path, kills=KILLS, seed=1)

    print(figures)
    assert min(figures.submitted, figures.ended, figures.fenced) > 0
    assert (figures.lost, figures.doubled) == (0, 0)


@pytest.mark.slow
def test_harness_notices_what_is_acknowledged_too_early(tmp_path):
    assert kill_queue(tmp_path, kills=3, seed=1, mode="early").lost > 0
