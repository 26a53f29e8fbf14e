"""Intervals and tests, against enumeration and hand calculations."""

from __future__ import annotations

import itertools

import pytest

from appliance.evaluation.significance import compare_scores, estimate_mean, measure_calibration


def test_p_value_is_that_of_all_sign_flips():
    ours, theirs = [0.9, 0.4, 0.8, 0.7, 0.6], [0.5, 0.5, 0.5, 0.5, 0.5]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    exact = sum(each >= abs(sum(differences)) - 1e-9 for each in sums) / len(sums)

    estimate = compare_scores(ours, theirs, range(5))

    assert estimate.p_value == pytest.approx(exact, abs=0.02)
    assert estimate.mean == pytest.approx(0.18)


def test_questions_of_one_document_count_as_one():
    ours, theirs = [1.0] * 30, [0.0] * 30

    assert compare_scores(ours, theirs, [0] * 30).p_value == pytest.approx(1.0)
    assert compare_scores(ours, theirs, range(30)).p_value == pytest.approx(0.0, abs=0.001)


def test_interval_of_a_difference_follows_the_documents():
    ours, theirs = [1.0, 1.0, 0.0, 0.0] * 8, [0.5] * 32

    estimate = compare_scores(ours, theirs, range(32))

    # standard error 0.5 / sqrt(32) = 0.088
    assert estimate.low == pytest.approx(-0.173, abs=0.03)
    assert estimate.high == pytest.approx(0.173, abs=0.03)


def test_unanimous_answers_are_no_certainty():
    estimate = estimate_mean([1.0] * 10, range(10))

    # Wilson's lower bound of 10 in 10: 10 / (10 + 1.96^2)
    assert estimate.low == pytest.approx(10 / (10 + 1.96**2))
    assert estimate.high == pytest.approx(1.0)


def test_calibration_error_by_hand():
    # one bin says 0.9 and is right half the time, one says 0.3 and is never right
    error = measure_calibration([0.9, 0.9, 0.3, 0.3], [True, False, False, False])

    assert error == pytest.approx(0.5 * 0.4 + 0.5 * 0.3)
