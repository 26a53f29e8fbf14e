"""Whether a tuned model should be used: ways to answer, leaks, gates, the verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appliance.values.record import Value

Way = Literal["base", "prompt", "search", "tuned", "tuned+search"]
"""How a question is answered: the base alone; with a good prompt; with passages that a search over
the documents found; after tuning; both."""


class WayScore(Value):
    """How well one way answers held-out questions.

    Attributes:
        name: the way.
        score: mean over the questions, 0 to 1; higher is better. Of a question it is the share of
            wrong answers that the model finds less likely than the right one: guessing gives 0.5.
        low: lower bound of its 95 % interval, over documents.
        high: upper bound.
        seconds: of one answer, on this machine.
        accuracy: share of the questions whose right answer is likelier than all wrong ones.
        calibration_error: how far the model's trust in its choices lies from how often they are
            right, 0 to 1.
        exact: share of generated answers that are the reference answer; so are the next two, and
            None where none were generated.
        f1: words shared with the reference answer.
        rouge_l: words shared in the same order.
        citation: share of the questions whose answer's file is among the files shown; None for ways
            that show none.
        answer_shown: share of the questions whose answer stands in a passage shown, word for word.
        refusals: share of questions with no answer that were refused.
        rules: share of generated answers that keep each rule of the recipe, by rule.
    """

    name: Way
    score: float
    low: float
    high: float
    seconds: float
    accuracy: float | None = None
    calibration_error: float | None = None
    exact: float | None = None
    f1: float | None = None
    rouge_l: float | None = None
    citation: float | None = None
    answer_shown: float | None = None
    refusals: float | None = None
    rules: dict[str, float] = Field(default_factory=dict)


class LeakLimits(Value):
    """What an audit may find at most: the section `audit` of the recipe."""

    membership_auc: float
    recall: int
    exposure: float
    secrets: int


class RecallShare(Value):
    """Parts of the spans of which greedy answers repeat so many tokens in a row, and more.

    Attributes:
        num_tokens: in a row.
        trained: of spans of the training split, by the tuned model.
        held_out: of spans of the test split, by the tuned model.
        base: of spans of the training split, by the base.
    """

    num_tokens: int
    trained: float
    held_out: float
    base: float


class LeakReport(Value):
    """Who could extract what from the weights.

    Attributes:
        membership_auc: how well the loss tells trained documents from held-out ones; 0.5: not at
            all.
        longest_recall: longest run of tokens of a training text that greedy answers repeat, beyond
            what the base repeats, and beyond the same on texts that were not trained on.
        canary_exposure: bits by which planted canaries rank above chance, the highest of them; None
            where none were planted.
        num_spans: training spans that were asked for.
        num_secrets_recalled: masked values that came out in the clear, and private values that were
            not masked; without those that the base tells too.
        longest_run: of a training text, whatever the base and other texts show.
        recall: by length.
        num_places: places before a private value at which the model was let go on.
        num_canaries: that were planted.
        most_exposure: bits that a canary can show at most; None where none were planted.
        limits: what was allowed; None where nothing was.
    """

    membership_auc: float
    longest_recall: int
    canary_exposure: float | None
    num_spans: int
    num_secrets_recalled: int
    longest_run: int = 0
    recall: tuple[RecallShare, ...] = ()
    num_places: int = 0
    num_canaries: int = 0
    most_exposure: float | None = None
    limits: LeakLimits | None = None

    @property
    def exceeded(self) -> tuple[str, ...]:
        """What was found beyond its limit, in words; empty where everything is within."""
        limits = self.limits
        if limits is None:
            return ()
        found = {
            "membership": self.membership_auc > limits.membership_auc,
            "verbatim recall": self.longest_recall > limits.recall,
            "canaries": (self.canary_exposure or 0.0) > limits.exposure,
            "private values": self.num_secrets_recalled > limits.secrets,
        }
        return tuple(name for name, is_beyond in found.items() if is_beyond)

    @property
    def has_leaked(self) -> bool:
        """Whether anything was found beyond its limit."""
        return bool(self.exceeded)


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
