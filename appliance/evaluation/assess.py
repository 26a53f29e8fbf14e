"""An assessment: more questions than after a tune, and the advice that follows."""

from __future__ import annotations

from pathlib import Path

from appliance.evaluation.recommend import recommend
from appliance.recipe import AssessRecipe, EvaluateRecipe
from appliance.values import Assessment, EvalReport, TrainPlan, TunedModel


def set_effort(evaluate: EvaluateRecipe, assess: AssessRecipe) -> EvaluateRecipe:
    """The evaluation of an assessment: questions are all it is for, so they may cost as much."""
    return evaluate.model_copy(
        update={"num_choices": assess.num_questions, "questions_share": float(assess.num_questions)}
    )


def collect_assessment(
    run: Path, seconds: dict[str, float], plan: TrainPlan, tuned: TunedModel, report: EvalReport
) -> Assessment:
    """Put the advice and the figures behind it together.

    Args:
        run: absolute path of the run.
        seconds: of each stage.
        plan: of the whole tune.
        tuned: what the trial made.
        report: its evaluation.
    """
    advice = recommend(report.ways, report.asked)
    return Assessment(
        run=str(run),
        recommendation=advice.recommendation,
        reasons=advice.reasons,
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
