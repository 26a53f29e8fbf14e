"""An assessment: more questions than after a tune, and the advice that follows."""

from __future__ import annotations

from pathlib import Path

from appliance.evaluation.recommend import recommend
from appliance.recipe import AssessRecipe, EvaluateRecipe
from appliance.units import format_count
from appliance.values import Assessment, Dataset, EvalReport, TrainPlan, TunedModel


def set_effort(evaluate: EvaluateRecipe, assess: AssessRecipe) -> EvaluateRecipe:
    """The evaluation of an assessment: questions are all it is for, so they may cost as much."""
    return evaluate.model_copy(
        update={"num_choices": assess.num_questions, "questions_share": float(assess.num_questions)}
    )


def collect_assessment(
    run: Path,
    seconds: dict[str, float],
    dataset: Dataset,
    plan: TrainPlan,
    tuned: TunedModel,
    report: EvalReport,
) -> Assessment:
    """Put the advice and the figures behind it together.

    Args:
        run: absolute path of the run.
        seconds: of each stage.
        dataset: how much the whole tune would read.
        plan: of the whole tune.
        tuned: what the trial made.
        report: its evaluation.
    """
    advice = recommend(report.ways, report.asked)
    return Assessment(
        run=str(run),
        recommendation=advice.recommendation,
        reasons=(*advice.reasons, *_tell_part(dataset, plan, tuned)),
        ways=report.ways,
        asked=report.asked,
        base=plan.base,
        method=plan.method,
        trial_tokens=tuned.num_tokens,
        trial_seconds=seconds["trial"],
        tune_seconds=sum(plan.seconds.values()),
        loss_improvement=report.improvement,
        seconds=seconds,
    )


def _tell_part(dataset: Dataset, plan: TrainPlan, tuned: TunedModel) -> tuple[str, ...]:
    """Where the trial read less than the tune would, tuning may be better than it looks."""
    whole = plan.num_epochs * dataset.train.num_tokens
    if tuned.num_tokens >= 0.9 * whole:
        return ()
    return (
        f"the trial read {format_count(tuned.num_tokens)} of the {format_count(whole)} tokens of "
        "the whole tune, which may do better: --set assess.trial_tokens=1000000 tries it",
    )
