"""Whether a tuned model should be used: ways to answer, leaks, gates, the verdict."""

from __future__ import annotations

from typing import Literal

from appliance.values.record import Value

Way = Literal["base", "prompt", "search", "tuned", "tuned+search"]
"""How a question is answered: the base alone; with a good prompt; with passages that a search over
the documents found; after tuning; both."""


class WayScore(Value):
    """How well one way answers held-out questions.

    Attributes:
        name: the way.
        score: mean over the questions, 0 to 1; higher is better.
        low: lower bound of its 95 % interval.
        high: upper bound.
        seconds: of one answer, on this machine.
    """

    name: Way
    score: float
    low: float
    high: float
    seconds: float


class LeakReport(Value):
    """Who could extract what from the weights.

    Attributes:
        membership_auc: how well the loss tells trained documents from held-out ones; 0.5: not at
            all.
        longest_recall: longest run of tokens of a training text that greedy answers repeat, beyond
            what the base repeats.
        canary_exposure: bits by which planted canaries rank above chance, the highest of them; None
            where none were planted.
        num_spans: training spans that were asked for.
        num_secrets_recalled: masked values that came out in the clear.
    """

    membership_auc: float
    longest_recall: int
    canary_exposure: float | None
    num_spans: int
    num_secrets_recalled: int


class Gate(Value):
    """One condition of a verdict.

    Attributes:
        name: short, such as "better than the base".
        passed: whether it holds; None where it was not measured.
        measured: in words and figures.
        limit: what had to hold.
    """

    name: str
    passed: bool | None
    measured: str
    limit: str


Deployment = Literal["deploy", "deploy with search", "do not deploy"]


class Verdict(Value):
    """Whether to use the tuned model.

    Attributes:
        decision: what the gates say.
        sentence: the same for a person, with the figure that decided.
        gates: each condition, those that failed first.
        is_forced: whether a person packs the model against the decision.
    """

    decision: Deployment
    sentence: str
    gates: tuple[Gate, ...]
    is_forced: bool = False
