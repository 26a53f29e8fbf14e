"""Every fault at the system calls of durable changes. Oracle: what was told before the fault."""

from __future__ import annotations

import pytest

from tests.faults import shim
from tests.faults.sweep import sweep

WHY_NOT = shim.find_why_not()

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.mark.parametrize(
    ("flow", "every"),
    [("file", 1), ("stage", 6), ("queue", 13), ("new-queue", 13), ("audit", 9), ("checkpoint", 3)],
)
def test_fault_at_a_call_loses_and_tears_nothing_and_leaves_nothing_behind(flow, every):
    figures = sweep(flow, every=every)

    print(figures)
    assert min(figures.faults, figures.kills) > 3
    assert figures.told, "no fault was told to anybody"
    assert figures.num_wrong == 0, figures.examples


def test_harness_notices_a_file_that_is_written_in_place():
    figures = sweep("in-place", every=1)

    assert figures.torn > 0
