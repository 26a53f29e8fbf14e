"""Scores and their bootstrap, against hand calculations."""

import math

import numpy as np
import pytest

from appliance.dataset.tokens import ANSWER, PASSAGE
from appliance.evaluation.overlap import measure_overlap
from appliance.evaluation.scores import ExampleScores, bootstrap_improvement, score_examples
from appliance.tuning.load import load_base
from appliance.tuning.model import wrap_model
from appliance.tuning.sample import pack_examples
from appliance.tuning.step import measure_loss
from tests.tuning.conftest import split, tiny_folder  # noqa: F401  (fixtures)


def make_scores(nats, kinds=None):
    size = len(nats)
    return ExampleScores(
        nats_E=np.array(nats, dtype=np.float64),
        labels_E=np.full(size, 10),
        bytes_E=np.full(size, 40),
        documents_E=np.arange(size),
        kinds_E=np.array(kinds or [PASSAGE] * size),
    )


def test_mean_loss_is_by_label_and_by_kind():
    scores = make_scores([10, 30, 50], [PASSAGE, PASSAGE, ANSWER])

    assert scores.mean_loss() == pytest.approx(3.0)
    assert scores.mean_loss(PASSAGE) == pytest.approx(2.0)
    assert scores.mean_loss(ANSWER) == pytest.approx(5.0)
    assert make_scores([10]).mean_loss(ANSWER) is None


def test_bits_per_byte_by_hand():
    # 80 nats over 80 bytes are 1 / ln 2 bits a byte
    assert make_scores([60, 20]).bits_per_byte() == pytest.approx(1 / math.log(2))


def test_bootstrap_of_an_equal_gain_everywhere_has_no_width():
    base, tuned = make_scores([10, 20, 40]), make_scores([9, 18, 36])

    assert bootstrap_improvement(base, tuned) == pytest.approx((0.1, 0.1, 0.1))


def test_bootstrap_is_unsure_when_documents_disagree():
    base = make_scores([10.0] * 12)
    tuned = make_scores([5.0] * 6 + [15.1] * 6)

    improvement, low, high = bootstrap_improvement(base, tuned)

    assert improvement == pytest.approx(-0.005)
    assert low < -0.2
    assert high > 0.2


def test_bootstrap_of_one_kind_leaves_the_other_out():
    kinds = [PASSAGE, PASSAGE, ANSWER]
    base, tuned = make_scores([10, 10, 10], kinds), make_scores([8, 8, 99], kinds)

    assert bootstrap_improvement(base, tuned, PASSAGE)[0] == pytest.approx(0.2)


def test_scored_examples_sum_to_the_loss_of_the_loop(tiny_folder, split):  # noqa: F811
    model = wrap_model(
        load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32").eval()
    )
    rows = list(range(0, 40, 3))

    scores = score_examples(model, split, rows, 64)

    reference = measure_loss(model, pack_examples(split, rows, 64))
    assert scores.mean_loss() == pytest.approx(reference, rel=1e-6)
    alone = score_examples(model, split, [rows[4]], 64)
    assert scores.nats_E[4] == pytest.approx(alone.nats_E[0], rel=1e-5)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("two years", "The warranty is two years.", 2 * 2 / 7),
        ("nothing", "two years", 0.0),
        ("", "two years", 0.0),
        ("Two, YEARS!", "two years", 1.0),
    ],
)
def test_overlap_by_hand(answer, reference, expected):
    assert measure_overlap(answer, reference) == pytest.approx(expected)
