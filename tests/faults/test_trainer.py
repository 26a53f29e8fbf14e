"""Training that is struck again and again. Oracle: the bits of a run that nobody disturbed."""

from __future__ import annotations

import os

import pytest

from tests.faults import shim
from tests.faults.trainer_flow import strike_trainer

WHY_NOT = shim.find_why_not()
KILLS = int(os.environ.get("FAULT_KILLS", "8"))

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


def test_training_ends_with_the_same_bits_whatever_strikes_it():
    figures = strike_trainer(kills=KILLS, seed=1)

    print(figures)
    assert figures.kills >= KILLS and figures.runs > 1
    assert figures.found > 0, "no damaged checkpoint was found"
    assert figures.num_wrong == 0, figures.examples
