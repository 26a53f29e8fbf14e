"""Why: the sentences behind a plan, for what was chosen, what was not, and what would fit."""

from __future__ import annotations

import math

from appliance.errors import BaseModelError, ResourceError
from appliance.planning.methods import LADDER, ON_REQUEST, find_obstacle
from appliance.planning.rungs import NO_TERMS, NO_TEXT, Rung, climb
from appliance.planning.schedule import Text
from appliance.recipe import TuneRecipe
from appliance.units import format_bytes, format_count, format_seconds
from appliance.values import BaseSpec, Hardware, PlanTerms, Rejected


def explain_choice(rung: Rung, recipe: TuneRecipe, rejected: tuple[Rejected, ...]) -> str:
    """Why this rung was taken."""
    method = rung.training.method
    larger = [row for row in rejected if "the chosen base is larger" not in row.reason]
    what = (
        "the recipe asks for it" if recipe.method != "auto" else f"largest base whose {method} fits"
    )
    if recipe.method == "auto" and method == "full":
        what = "largest base that fits; small enough to train whole"
    parts = [what, "exportable to onnx (checked)"]
    if recipe.method == "auto" and method == "qlora":
        parts.insert(1, "adapter not needed")
    if rung.training.recompute:
        parts.append("activations are computed twice to save memory")
    others = {row.choice.split(" · ")[0] for row in larger} - {rung.spec.name}
    if others:
        parts.append(f"{len(others)} other base{'s' if len(others) > 1 else ''} rejected")
    return "; ".join(parts)


def explain_other_methods(
    rung: Rung,
    hardware: Hardware,
    recipe: TuneRecipe,
    told: set[str],
    terms: PlanTerms = NO_TERMS,
) -> list[Rejected]:
    """Why the other methods of the chosen base were not taken, with what they would need."""
    rows = []
    for method in (*LADDER, *ON_REQUEST):
        choice = f"{rung.spec.name} · {method}"
        if method == rung.training.method or choice in told:
            continue
        obstacle = find_obstacle(rung.spec, method, recipe)
        other = climb(rung.spec, method, hardware, recipe, terms=terms)
        needs = (
            f"would need {format_bytes(other.memory.total_bytes)} "
            f"at {format_count(other.speed.tokens_per_second)} tokens/s"
        )
        if obstacle:
            reason = obstacle
        elif recipe.method != "auto":
            reason = f"the recipe asks for {recipe.method}; {needs}"
        elif method in LADDER:
            reason = f"not needed: {rung.training.method} fits; {needs}"
        else:
            reason = f"only when asked for (--set tune.method={method}); {needs}"
        rows.append(Rejected(choice=choice, reason=reason))
    return rows


def explain_smaller(other: BaseSpec, chosen: BaseSpec) -> Rejected:
    """Why a smaller base was not taken."""
    sizes = f"{format_count(chosen.num_parameters)} against {format_count(other.num_parameters)}"
    return Rejected(choice=other.name, reason=f"the chosen base is larger: {sizes} parameters")


def explain_time(seconds: float, budget: float) -> str:
    """Why a slow rung was not taken."""
    return (
        f"would train for about {format_seconds(seconds)}, the budget is {format_seconds(budget)}"
    )


def explain_slowness(slow: list[tuple[float, Rung]], budget: float) -> ResourceError:
    """The error when all that fits takes longer than a person allows."""
    seconds, fastest = min(slow, key=lambda pair: pair[0])
    hours = math.ceil(seconds / 360) / 10
    return ResourceError(
        f"nothing is trained within the budget of {format_seconds(budget)}",
        why=f"the fastest, {fastest.choice}, takes about {format_seconds(seconds)}",
        fix=f"--set budget.hours={hours:g}, fewer epochs with --set tune.epochs=1, "
        "or a smaller base with --base",
    )


def explain_failure(
    hardware: Hardware,
    recipe: TuneRecipe,
    short: list[Rung],
    rejected: list[Rejected],
    text: Text = NO_TEXT,
    terms: PlanTerms = NO_TERMS,
) -> BaseModelError | ResourceError:
    """The error when nothing is left: the choice that came closest, and what would fit."""
    if not short:
        reasons = "; ".join(f"{row.choice}: {row.reason}" for row in rejected) or "there is no base"
        return BaseModelError(
            "no base model can be used",
            why=reasons,
            fix="choose another base with --base, such as --base embedded",
        )
    closest = min(short, key=lambda rung: rung.memory.total_bytes)
    return ResourceError(
        f"{closest.choice} does not fit, and nothing else does",
        why=f"at {closest.training.sequence_length} tokens a pack it {closest.shortage}",
        fix=_find_fix(closest, hardware, recipe, text, terms),
    )


def _find_fix(
    rung: Rung, hardware: Hardware, recipe: TuneRecipe, text: Text, terms: PlanTerms
) -> str:
    """What a person can change so that it fits, tried out; else what the machine lacks."""
    for length in (2048, 1024, 512, 256, 128, 64):
        if not text.longest_example <= length < rung.training.sequence_length:
            continue
        shorter = recipe.model_copy(update={"sequence_length": length})
        trial = climb(rung.spec, rung.training.method, hardware, shorter, text, terms)
        if not trial.shortage:
            needs = format_bytes(trial.memory.total_bytes)
            return f"--set tune.sequence_length={length} ({needs})"
    if recipe.method in ON_REQUEST:
        other = recipe.model_copy(update={"method": "qlora"})
        trial = climb(rung.spec, "qlora", hardware, other, text, terms)
        if not trial.shortage:
            return f"--set tune.method=qlora ({format_bytes(trial.memory.total_bytes)})"
    if "the budget is" in rung.shortage:
        key = "disk" if "disk" in rung.shortage else "memory"
        return f"raise budget.{key}_gibibytes, or choose a smaller base with --base"
    if rung.spec.name != "embedded":
        return "choose a smaller base with --base (the smallest is --base embedded), or free memory"
    if "disk" in rung.shortage:
        return "delete old runs, or choose another place with --runs"
    return "stop other programs, or raise the memory limit of the container or unit"
