"""Queue and artefacts when the power fails. Oracle: what was acknowledged before the cut."""

import os

import pytest

from tests.faults.powercut import cut_publisher, cut_queue, find_why_not

WHY_NOT = find_why_not()
CUTS = int(os.environ.get("FAULT_CUTS", "30"))

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


def test_power_cut_loses_nothing_of_the_queue():
    figures = cut_queue(cuts=CUTS, seed=1)

    print(figures)
    assert figures.acknowledged > 0
    assert (figures.lost, figures.torn, figures.doubled) == (0, 0, 0)


def test_power_cut_loses_and_tears_no_artefact():
    figures = cut_publisher(cuts=CUTS, seed=1)

    print(figures)
    assert figures.published > 0
    assert (figures.lost, figures.torn) == (0, 0)


def test_harness_notices_a_queue_that_does_not_wait_for_the_disk():
    assert cut_queue(cuts=3, seed=1, mode="normal").lost > 0


def test_harness_notices_artefacts_that_are_not_synced():
    figures = cut_publisher(cuts=3, seed=1, mode="unsafe")

    assert figures.lost > 0 and figures.torn > 0
