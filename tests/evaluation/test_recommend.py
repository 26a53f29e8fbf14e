"""Advice from figures; oracle: the cheapest way that no dearer one beats, read off each table."""

from __future__ import annotations

from itertools import combinations

import pytest

from appliance.evaluation.recommend import MIN_DOCUMENTS, SURE, recommend
from appliance.values import Asked, WayComparison, WayScore

NAMES = ("base", "prompt", "search", "tuned", "tuned+search")


def make_figures(scores, *, sure=0.06, num_documents=40, num_questions=64):
    """Ways with these scores; differences of at least `sure` have a p-value that counts."""
    by_name = dict(zip(NAMES, scores, strict=True))
    ways = [
        WayScore(name=name, score=score, low=score - 0.05, high=score + 0.05, seconds=1.0)
        for name, score in by_name.items()
    ]
    comparisons = [
        WayComparison(
            way=way,
            against=against,
            difference=by_name[way] - by_name[against],
            low=by_name[way] - by_name[against] - 0.05,
            high=by_name[way] - by_name[against] + 0.05,
            p_value=0.001 if abs(by_name[way] - by_name[against]) >= sure else 0.3,
        )
        for against, way in combinations(NAMES, 2)
    ]
    asked = Asked(
        comparisons=tuple(comparisons),
        num_questions=num_questions,
        num_documents=num_documents,
        num_options=5,
        num_passages=100,
        index_seconds=0.1,
    )
    return ways, asked


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.60, 0.61, 0.62, 0.61, 0.60), "do nothing"),
        ((0.60, 0.80, 0.82, 0.81, 0.83), "prompt"),
        ((0.60, 0.58, 0.80, 0.70, 0.82), "search"),
        ((0.60, 0.58, 0.62, 0.90, 0.91), "tune"),
        ((0.60, 0.58, 0.75, 0.90, 0.91), "tune"),
        ((0.60, 0.58, 0.75, 0.76, 0.90), "tune and search"),
        ((0.60, 0.58, 0.75, 0.60, 0.50), "search"),
    ],
)
def test_advice_is_the_cheapest_way_that_no_dearer_one_beats(scores, expected):
    advice = recommend(*make_figures(scores))

    assert advice.recommendation == expected


def test_a_gain_that_is_sure_but_tiny_is_not_worth_it():
    assert recommend(*make_figures((0.6, 0.6, 0.62, 0.62, 0.62), sure=0.01)).recommendation == (
        "do nothing"
    )


def test_a_large_gain_that_is_not_sure_asks_for_more_documents():
    advice = recommend(*make_figures((0.6, 0.6, 0.75, 0.6, 0.6), sure=0.5))

    assert advice.recommendation == "too few documents to know"
    assert "search looks +0.15 better than base" in advice.reasons[0]


@pytest.mark.parametrize("lack", [{"num_documents": 7}, {"num_questions": 15}])
def test_few_questions_or_documents_decide_nothing(lack):
    advice = recommend(*make_figures((0.1, 0.1, 0.9, 0.1, 0.9), **lack))

    assert advice.recommendation == "too few documents to know"


def test_no_question_at_all_decides_nothing():
    assert recommend((), None).recommendation == "too few documents to know"


def test_as_many_documents_are_needed_as_let_a_test_pass():
    assert 2 / 2 ** (MIN_DOCUMENTS - 1) > SURE > 2 / 2**MIN_DOCUMENTS


def test_first_reason_is_the_one_that_decided():
    advice = recommend(*make_figures((0.60, 0.58, 0.80, 0.70, 0.82)))

    assert advice.reasons[0].startswith("search is better than base: +0.20")
