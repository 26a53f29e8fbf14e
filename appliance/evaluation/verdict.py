"""The verdict: whether to use a tuned model, from figures that other stages measured.

A pure function of values. A gate that was not measured decides nothing; a figure that is no number
fails its gate. Refusing a bundle is left to `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.evaluation.recommend import MIN_QUESTIONS
from appliance.files import write_text
from appliance.rundir import StageFolder
from appliance.units import format_share
from appliance.values import (
    Deployment,
    EvalReport,
    Gate,
    LeakReport,
    ParityReport,
    Value,
    Verdict,
    Way,
    WayScore,
)

GAIN = "better than the base"
PRETRAINED = "pretraining helped"
FORGETTING = "did not forget"
LEAKS = "does not leak"
EXPORT = "shipped graph keeps the gain"
WAYS = "no simpler way is better"

_FAULTS = {
    GAIN: "it is not surely better than the base",
    PRETRAINED: "pretraining did not surely help",
    FORGETTING: "it forgot too much",
    LEAKS: "it leaks",
    EXPORT: "the shipped graph lost the gain",
    WAYS: "a simpler way is better",
}
"""What a failed gate means."""

_SIMPLER: dict[Way, str] = {
    "base": "the base alone",
    "prompt": "the base with a good prompt",
    "search": "search alone",
}
"""Ways to answer that need no tuning."""


class Evidence(Value):
    """What a verdict is reached from.

    Attributes:
        report: base against tuned.
        parity: the ladder down to the graph that ships; None before the export.
        leaks: what could be extracted; None where it was not looked for.
        pretraining: of a run that pretrained first: base against pretrained.
    """

    report: EvalReport
    parity: ParityReport | None = None
    leaks: LeakReport | None = None
    pretraining: EvalReport | None = None


class Insistence(Value):
    """What a person wants packed although the verdict is against it.

    Attributes:
        on_anything: `--force`.
        on_no_gain: a model whose gain is not shown, and nothing worse; a recipe says so with
            `evaluate.require_improvement: false`.
    """

    on_anything: bool = False
    on_no_gain: bool = False


def decide(evidence: Evidence, insistence: Insistence, stage: StageFolder) -> Verdict:
    """Reach the verdict on a tuned model, and keep it as JSON.

    Args:
        evidence: what was measured, with the limits that the recipe set.
        insistence: what is packed all the same.
        stage: where verdict.json is written.
    """
    verdict = insist(reach_verdict(evidence), insistence)
    write_text(stage.folder / "verdict.json", verdict.model_dump_json(indent=1) + "\n")
    return verdict


def reach_verdict(evidence: Evidence) -> Verdict:
    """Whether to use a tuned model.

    A single failed gate says no. Ways to answer are told apart by their 95 % intervals: one is
    better where its interval lies wholly above the other's. That asks for more than a paired test
    would, so that neither way is preferred by chance.

    Args:
        evidence: what was measured, with the limits that the recipe set.

    Returns:
        The decision, one sentence, and every gate, those that failed first.
    """
    report, before = evidence.report, evidence.pretraining
    gates = [
        _judge_gain(GAIN, report),
        *([_judge_gain(PRETRAINED, before)] if before else []),
        _judge_forgetting([report, *([before] if before else [])]),
        _judge_leaks(evidence.leaks),
        _judge_export(evidence.parity),
        _judge_ways(report),
    ]
    failed = [gate for gate in gates if gate.passed is False]
    kept = [gate for gate in gates if gate.passed]
    unknown = [gate for gate in gates if gate.passed is None]
    decision, reason = _decide(report, failed)
    return Verdict(
        decision=decision,
        sentence=f"{decision}: {reason}",
        gates=(*failed, *kept, *unknown),
    )


def insist(verdict: Verdict, insistence: Insistence) -> Verdict:
    """The verdict, marked where the model is packed against it; what it says stays the same."""
    if verdict.decision != "do not deploy":
        return verdict
    failed = {gate.name for gate in verdict.gates if gate.passed is False}
    is_forced = insistence.on_anything or (insistence.on_no_gain and failed <= {GAIN, PRETRAINED})
    return verdict.model_copy(update={"is_forced": is_forced})


def is_refused(verdict: Verdict) -> bool:
    """Whether no bundle is made: the verdict says no, and nobody insists."""
    return verdict.decision == "do not deploy" and not verdict.is_forced


def _decide(report: EvalReport, failed: Sequence[Gate]) -> tuple[Deployment, str]:
    if failed:
        return "do not deploy", "; ".join(
            f"{_FAULTS[gate.name]} ({gate.measured})" for gate in failed
        )
    ways = _list_telling(report)
    tuned, both = _find(ways, "tuned"), _find(ways, "tuned+search")
    simpler = [way for way in ways if way.name in _SIMPLER]
    if tuned and both and any(_is_below(tuned, way) for way in (*simpler, both)):
        return (
            "deploy with search",
            f"with search over the documents it scores {_tell(both)}, alone {_tell(tuned)}",
        )
    return (
        "deploy",
        f"the loss on {_count(report.num_documents, 'held-out document')} fell by "
        f"{format_share(report.improvement)}, at least {format_share(report.improvement_low)}",
    )


def _judge_gain(name: str, report: EvalReport) -> Gate:
    low, high = format_share(report.improvement_low), format_share(report.improvement_high)
    return Gate(
        name=name,
        passed=report.improvement_low > 0,
        measured=f"the loss on {_count(report.num_documents, 'held-out document')} fell by "
        f"{format_share(report.improvement)} ({low} to {high}, 95 % interval)",
        limit="the whole interval is above 0 %",
    )


def _judge_forgetting(reports: Sequence[EvalReport]) -> Gate:
    scores = [report.general for report in reports if report.general is not None]
    if not scores:
        return _not_measured(FORGETTING, "a small rise of the loss on general text")
    worst = max(scores, key=lambda score: (not score.rise <= score.limit, score.rise - score.limit))
    return Gate(
        name=FORGETTING,
        passed=all(score.rise <= score.limit for score in scores),
        measured=f"the loss on general text changed by {worst.rise:+.1%}",
        limit=f"at most {worst.limit:+.1%}",
    )


def _judge_leaks(leaks: LeakReport | None) -> Gate:
    limits = leaks.limits if leaks else None
    if leaks is None or limits is None:
        return _not_measured(LEAKS, "what a recipe allows to come out")
    exposure = leaks.canary_exposure
    measured = [
        f"membership {leaks.membership_auc:.2f} AUC",
        f"longest recall {_count(leaks.longest_recall, 'token')} "
        f"in {_count(leaks.num_spans, 'span')}",
        "no canaries planted" if exposure is None else f"exposure {exposure:.1f} bits",
        f"{_count(leaks.num_secrets_recalled, 'private value')} told",
    ]
    return Gate(
        name=LEAKS,
        passed=leaks.membership_auc <= limits.membership_auc
        and leaks.longest_recall <= limits.recall
        and (exposure is None or exposure <= limits.exposure)
        and leaks.num_secrets_recalled <= limits.secrets,
        measured=", ".join(measured),
        limit=f"{limits.membership_auc:g} AUC, {_count(limits.recall, 'token')}, "
        f"{limits.exposure:g} bits, {_count(limits.secrets, 'private value')}",
    )


def _judge_export(parity: ParityReport | None) -> Gate:
    if parity is None:
        return _not_measured(EXPORT, "every rung of the parity ladder holds")
    shipped = parity.rungs[-1]
    kept = "no gain to keep" if shipped.gain_kept is None else format_share(shipped.gain_kept)
    return Gate(
        name=EXPORT,
        passed=all(rung.passed for rung in parity.rungs),
        measured=f"{shipped.rung}: {kept}",
        limit=shipped.thresholds,
    )


def _judge_ways(report: EvalReport) -> Gate:
    """Tuning has to be of use: no way without it may be better than it is alone and with search.

    Few questions decide nothing: chance would.
    """
    limit = "its 95 % interval does not lie above that of tuning"
    ways = _list_telling(report)
    tuned, both = _find(ways, "tuned"), _find(ways, "tuned+search")
    simpler = [way for way in ways if way.name in _SIMPLER]
    if tuned is None or not simpler:
        gate = _not_measured(WAYS, limit)
        if report.asked is None or report.asked.num_questions >= MIN_QUESTIONS:
            return gate
        few = f"{_count(report.asked.num_questions, 'question')}, {MIN_QUESTIONS} are needed"
        return gate.model_copy(update={"measured": few})
    better = [
        way for way in simpler if _is_below(tuned, way) and (both is None or _is_below(both, way))
    ]
    best = max(better or simpler, key=lambda way: (way.low, way.score))
    measured = f"{_SIMPLER[best.name]} scores {_tell(best)}, the tuned model {_tell(tuned)}"
    measured += f", with search {_tell(both)}" if both else ""
    return Gate(name=WAYS, passed=not better, measured=measured, limit=limit)


def _list_telling(report: EvalReport) -> tuple[WayScore, ...]:
    """Ways of answering, where they were asked often enough to be compared."""
    is_enough = report.asked is None or report.asked.num_questions >= MIN_QUESTIONS
    return report.ways if is_enough else ()


def _is_below(one: WayScore, other: WayScore) -> bool:
    """Whether the interval of one way lies wholly below that of another, or is no number."""
    return not one.high >= other.low


def _find(ways: Sequence[WayScore], name: Way) -> WayScore | None:
    return next((way for way in ways if way.name == name), None)


def _not_measured(name: str, limit: str) -> Gate:
    return Gate(name=name, passed=None, measured="not measured", limit=limit)


def _tell(way: WayScore) -> str:
    return f"{way.score:.2f} ({way.low:.2f} to {way.high:.2f})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
