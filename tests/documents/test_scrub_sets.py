"""Recall and false alarms on the three made-up sets, as targets of every change to a pattern."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from appliance.documents.scrub import ScrubPolicy, find_private

from .scrub_sets.cases import Case
from .scrub_sets.held_out import make_held_out
from .scrub_sets.outside import make_outside
from .scrub_sets.tuning import make_tuning

SETS = {"tuning": make_tuning, "held_out": make_held_out, "outside": make_outside}
LEAST_COVERED = 0.9


def is_covered(case: Case) -> bool:
    """Whether nine tenths of the value are replaced."""
    start = case.text.index(case.value)
    end = start + len(case.value)
    found = find_private(case.text, ScrubPolicy())
    covered = sum(max(0, min(end, each.end) - max(start, each.start)) for each in found)
    return covered >= LEAST_COVERED * len(case.value)


@pytest.mark.parametrize("name", SETS)
def test_recall_of_every_class(name: str):
    # oracle: the generators know the value they put into a text
    covered: dict[str, list[bool]] = defaultdict(list)
    for case in SETS[name]():
        if case.value:
            covered[case.kind].append(is_covered(case))
    recall = {kind: sum(hits) / len(hits) for kind, hits in covered.items()}
    assert min(recall.values()) >= 0.95, recall


@pytest.mark.parametrize("name", SETS)
def test_look_alikes_are_left_alone(name: str):
    # oracle: the generators put nothing private into these
    make: Callable[[], list[Case]] = SETS[name]
    decoys = [case for case in make() if not case.value]
    alarms = Counter(case.kind for case in decoys if find_private(case.text, ScrubPolicy()))
    assert alarms.total() <= 0.02 * len(decoys), alarms
