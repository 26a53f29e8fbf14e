"""Time for asking the base. Oracle: the constants of the room that asks, and a hand calculation."""

from __future__ import annotations

import pytest

from appliance.asking import ask
from appliance.planning import asking
from appliance.planning.asking import estimate_asking
from appliance.values import Dataset, SpeedEstimate, Split
from tests.tuning.conftest import make_plan


def make_dataset(num_passages: int) -> Dataset:
    split = Split(
        folder="x",
        num_documents=1,
        num_examples=num_passages,
        num_tokens=300 * num_passages,
        num_labels=1,
        kinds={"passage": num_passages},
    )
    return Dataset(
        train=split, valid=split, test=split, questions_file="", ledger_file="", num_questions=0,
        num_tokens_dropped=0, num_tokens_repeated=0, longest_example=300, sha256="",
    )  # fmt: skip


def test_time_follows_passages_read_twice_and_tokens_written():
    plan = make_plan(speed=SpeedEstimate(tokens_per_second=100.0, low=1.0, high=1.0))
    # 10 passages: 2 x 3,000 tokens read and 1,440 written, which count eight times
    assert estimate_asking(plan, make_dataset(10)) == pytest.approx((6_000 + 8 * 1_440) / 300)
    assert estimate_asking(plan, make_dataset(5_000)) == estimate_asking(plan, make_dataset(2_000))


def test_the_same_limits_are_planned_and_kept():
    assert asking.MAX_PASSAGES == ask.MAX_PASSAGES
    assert asking.WRITTEN_TOKENS == ask.QUESTION_TOKENS + ask.ANSWER_TOKENS
