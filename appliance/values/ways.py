"""Ways of answering, side by side, and what is advised from them."""

from __future__ import annotations

from typing import Literal

from appliance.values.record import Value
from appliance.values.verdict import Way, WayScore


class WayComparison(Value):
    """Two ways on the same questions, question by question.

    Attributes:
        way: the one that is looked at.
        against: the other.
        difference: mean score of `way` minus that of `against`.
        low: lower bound of its 95 % interval, over documents.
        high: upper bound.
        p_value: that chance alone makes a difference at least as large, two-sided.
    """

    way: Way
    against: Way
    difference: float
    low: float
    high: float
    p_value: float


class Asked(Value):
    """What the ways of answering were asked, and how they compare.

    Attributes:
        comparisons: every way with every way before it.
        num_questions: that every way chose an answer to.
        num_documents: that they come from; a conversation is a document of its own.
        num_options: answers to choose from, the right one among them.
        num_passages: in the index that was searched.
        index_seconds: to build it.
    """

    comparisons: tuple[WayComparison, ...]
    num_questions: int
    num_documents: int
    num_options: int
    num_passages: int
    index_seconds: float


Recommendation = Literal[
    "do nothing", "prompt", "search", "tune", "tune and search", "too few documents to know"
]


class Advice(Value):
    """What to do with a folder, and why.

    Attributes:
        recommendation: the cheapest way that no dearer one beats.
        reasons: in words and figures, the one that decided first.
    """

    recommendation: Recommendation
    reasons: tuple[str, ...]


class Assessment(Value):
    """What `appliance assess --json` prints; the keys are kept stable for scripts.

    Attributes:
        run: absolute path of the run.
        recommendation: what to do.
        reasons: why.
        ways: each way of answering, with its score and its seconds for an answer.
        asked: what they were asked, and paired tests.
        base: name of the base.
        method: of the trial.
        trial_tokens: that the trial tune read.
        trial_seconds: that it took.
        tune_seconds: predicted for the whole of `appliance tune`.
        loss_improvement: fall of the held-out loss by the trial: what was learned of wording.
        seconds: by stage.
    """

    run: str
    recommendation: Recommendation
    reasons: tuple[str, ...]
    ways: tuple[WayScore, ...]
    asked: Asked | None
    base: str
    method: str
    trial_tokens: int
    trial_seconds: float
    tune_seconds: float
    loss_improvement: float
    seconds: dict[str, float]
