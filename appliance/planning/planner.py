"""The planner: which base, which method, how long; with a reason for everything it did not take.

The ladder: for the largest base first, qlora, then adapter on the same 4-bit base; then the next
smaller base. LoRA in 16 or 32 bit and full fine-tuning only when the recipe asks for them.
"""

from __future__ import annotations

from appliance.errors import NotFreeError, ResourceError
from appliance.planning.device import choose_device
from appliance.planning.finish import finish_plan, measure_training, read_text
from appliance.planning.methods import find_obstacle, list_methods
from appliance.planning.processes import share_device
from appliance.planning.reasons import (
    explain_failure,
    explain_slowness,
    explain_smaller,
    explain_time,
)
from appliance.planning.rungs import NO_TERMS, Rung, climb, find_shortage
from appliance.planning.schedule import Text
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.values import (
    BaseChoice,
    BaseChoices,
    BaseSpec,
    Corpus,
    Dataset,
    Hardware,
    PlanTerms,
    Rejected,
    TrainPlan,
)

NIGHT_SECONDS = 12 * 3600.0
"""A base whose training would take longer gives way to a smaller one, unless a budget is set."""

CHARACTERS_PER_TOKEN = 3.5
"""Of English text, for bases whose tokenizer has not read it yet."""

TRAIN_SHARE = 0.75
"""Part of a corpus that goes into the training split."""


def choose_base(
    hardware: Hardware,
    bases: BaseChoices,
    corpus: Corpus,
    recipe: TuneRecipe,
    terms: PlanTerms = NO_TERMS,
    stage: StageFolder | None = None,
) -> BaseChoice:
    """The largest base that can be exported, fits, and is trained within the time budget.

    Where all that fit take longer than a night, the fastest of them is taken; where they take
    longer than a budget that a person set, none.

    Args:
        hardware: what is there now.
        bases: what can be chosen from.
        corpus: tells how much text there is.
        recipe: may fix the method.
        terms: budgets, and what is known about the machine.
        stage: of the run, if there is one.

    Raises:
        BaseModelError: no base can be exported or used with the method.
        ResourceError: none fits, or none is trained within the budget.
    """
    budget = terms.seconds or NIGHT_SECONDS
    text = Text(train_tokens=round(TRAIN_SHARE * corpus.num_characters / CHARACTERS_PER_TOKEN))
    rejected = list(bases.broken)
    slow: list[tuple[float, Rung]] = []
    short: list[Rung] = []
    specs = sorted(bases.specs, key=lambda spec: (-spec.num_parameters, spec.name))
    for number, spec in enumerate(specs):
        for rung in _list_rungs(spec, hardware, recipe, text, terms, rejected):
            seconds = measure_training(rung, hardware, recipe, text, terms)
            if rung.shortage:
                short.append(rung)
                rejected.append(Rejected(choice=rung.choice, reason=rung.shortage))
            elif seconds > budget and (len(specs) > 1 or terms.seconds is not None):
                slow.append((seconds, rung))
                rejected.append(Rejected(choice=rung.choice, reason=explain_time(seconds, budget)))
            else:
                smaller = [explain_smaller(other, spec) for other in specs[number + 1 :]]
                return BaseChoice(spec=spec, rejected=(*rejected, *smaller))
    if slow and terms.seconds is not None:
        raise explain_slowness(slow, budget)
    if slow:
        fastest = min(slow, key=lambda pair: pair[0])[1]
        others = [row for row in rejected if not row.choice.startswith(f"{fastest.spec.name} ·")]
        return BaseChoice(spec=fastest.spec, rejected=tuple(others))
    raise explain_failure(hardware, recipe, short, rejected, text, terms)


def make_plan(
    hardware: Hardware,
    choice: BaseChoice,
    dataset: Dataset,
    recipe: TuneRecipe,
    terms: PlanTerms = NO_TERMS,
    stage: StageFolder | None = None,
) -> TrainPlan:
    """Method, sizes, memory and time of the training of a chosen base.

    Args:
        hardware: what is there now.
        choice: the base that tokenized the dataset, and why not the others.
        dataset: tells how much text there is and how long its examples are.
        recipe: what a person fixed.
        terms: budgets, and what is known about the machine.
        stage: of the run; not needed.

    Raises:
        BaseModelError: the base cannot be exported, or not with this method.
        ResourceError: nothing fits, or nothing is trained within the budget; names the closest
            choice and what would fit.
        RecipeError: epochs or sequence length cannot be used.
    """
    budget = terms.seconds or NIGHT_SECONDS
    text = read_text(dataset)
    rejected: list[Rejected] = []
    short: list[Rung] = []
    slow: list[tuple[float, Rung]] = []
    for rung in _list_rungs(choice.spec, hardware, recipe, text, terms, rejected):
        seconds = measure_training(rung, hardware, recipe, text, terms)
        if rung.shortage:
            short.append(rung)
            rejected.append(Rejected(choice=rung.choice, reason=rung.shortage))
        elif seconds > budget:
            slow.append((seconds, rung))
            rejected.append(Rejected(choice=rung.choice, reason=explain_time(seconds, budget)))
        else:
            return finish_plan(rung, hardware, choice, dataset, recipe, terms, rejected)
    if slow and terms.seconds is not None:
        raise explain_slowness(slow, budget)
    if slow:
        fastest = min(slow, key=lambda pair: pair[0])[1]
        rejected = [row for row in rejected if row.choice != fastest.choice]
        return finish_plan(fastest, hardware, choice, dataset, recipe, terms, rejected)
    raise explain_failure(hardware, recipe, short, rejected, text, terms)


def recheck_plan(plan: TrainPlan, hardware: Hardware) -> None:
    """Look whether an older plan still fits.

    Raises:
        NotFreeError: memory or disk is held by something else now.
        ResourceError: its device is gone.
    """
    device = share_device(choose_device(hardware), plan.num_processes)
    if plan.device != device.name:
        raise ResourceError(
            f"the plan trains on {plan.device}, which is not there now",
            why=f"this machine offers {device.name}"
            + "".join(f"; {gpu.name}: {gpu.why_not}" for gpu in hardware.gpus if gpu.why_not),
            fix="bring the device back, or start a new run with --fresh",
        )
    shortage = find_shortage(plan.memory, plan.disk_bytes, hardware, device)
    if shortage:
        raise NotFreeError(
            "the plan of this run does not fit now",
            why=f"{plan.base} · {plan.method} {shortage}",
            fix="free what other programs hold and run the same command again, "
            "or plan anew with --fresh",
        )


def _list_rungs(
    spec: BaseSpec,
    hardware: Hardware,
    recipe: TuneRecipe,
    text: Text,
    terms: PlanTerms,
    rejected: list[Rejected],
) -> list[Rung]:
    """Rungs of a base that can be used at all; the others go into `rejected`."""
    methods = list_methods(spec, recipe)
    obstacles = {method: find_obstacle(spec, method, recipe) for method in methods}
    if not spec.exportable:
        rejected.append(Rejected(choice=spec.name, reason=obstacles[methods[0]]))
        return []
    for method, obstacle in obstacles.items():
        if obstacle:
            rejected.append(Rejected(choice=f"{spec.name} · {method}", reason=obstacle))
    return [
        climb(spec, method, hardware, recipe, text, terms)
        for method, obstacle in obstacles.items()
        if not obstacle
    ]
