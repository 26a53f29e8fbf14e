"""The planner: which base, which method, how long; with a reason for everything it did not take.

The ladder: for the largest base first, qlora, then adapter on the same 4-bit base; then the next
smaller base. LoRA in 16 or 32 bit and full fine-tuning only when the recipe asks for them.
"""

from __future__ import annotations

from appliance.errors import NotFreeError, ResourceError
from appliance.planning.reasons import (
    explain_choice,
    explain_failure,
    explain_other_methods,
    explain_smaller,
    explain_time,
)
from appliance.planning.rungs import (
    Rung,
    choose_device,
    climb,
    find_obstacle,
    find_shortage,
    list_methods,
)
from appliance.planning.schedule import plan_steps
from appliance.planning.speed import TIME_BUDGET_SECONDS, Workload, estimate_seconds
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.values import (
    BaseChoice,
    BaseChoices,
    BaseSpec,
    Corpus,
    Dataset,
    Hardware,
    Rejected,
    TrainPlan,
)

CHARACTERS_PER_TOKEN = 3.5
"""Of English text, for bases whose tokenizer has not read it yet."""

TRAIN_SHARE = 0.75
"""Part of a corpus that goes into the training split."""


def choose_base(
    hardware: Hardware,
    bases: BaseChoices,
    corpus: Corpus,
    recipe: TuneRecipe,
    stage: StageFolder | None = None,
) -> BaseChoice:
    """The largest base that can be exported, fits, and is trained within the time budget.

    Where all that fit take longer than the budget, the fastest of them is taken.

    Args:
        hardware: what is there now.
        bases: what can be chosen from.
        corpus: tells how much text there is.
        recipe: may fix the method.
        stage: of the run, if there is one.

    Raises:
        BaseModelError: no base can be exported or used with the method.
        ResourceError: none fits.
    """
    tokens = round(TRAIN_SHARE * corpus.num_characters / CHARACTERS_PER_TOKEN)
    rejected = list(bases.broken)
    slow: list[tuple[float, Rung]] = []
    short: list[Rung] = []
    specs = sorted(bases.specs, key=lambda spec: (-spec.num_parameters, spec.name))
    for number, spec in enumerate(specs):
        for rung in _list_rungs(spec, hardware, recipe, 0, rejected):
            seconds = _measure_training(rung, hardware, recipe, tokens)
            if rung.shortage:
                short.append(rung)
                rejected.append(Rejected(choice=rung.choice, reason=rung.shortage))
            elif seconds > TIME_BUDGET_SECONDS and len(specs) > 1:
                slow.append((seconds, rung))
                rejected.append(Rejected(choice=rung.choice, reason=explain_time(seconds)))
            else:
                smaller = [explain_smaller(other, spec) for other in specs[number + 1 :]]
                return BaseChoice(spec=spec, rejected=(*rejected, *smaller))
    if slow:
        fastest = min(slow, key=lambda pair: pair[0])[1]
        others = [row for row in rejected if not row.choice.startswith(f"{fastest.spec.name} ·")]
        return BaseChoice(spec=fastest.spec, rejected=tuple(others))
    raise explain_failure(hardware, recipe, short, rejected)


def make_plan(
    hardware: Hardware,
    choice: BaseChoice,
    dataset: Dataset,
    recipe: TuneRecipe,
    stage: StageFolder | None = None,
) -> TrainPlan:
    """Method, sizes, memory and time of the training of a chosen base.

    Args:
        hardware: what is there now.
        choice: the base that tokenized the dataset, and why not the others.
        dataset: tells how much text there is and how long its examples are.
        recipe: what a person fixed.
        stage: of the run; not needed.

    Raises:
        BaseModelError: the base cannot be exported, or not with this method.
        ResourceError: nothing fits; names the closest choice and what would fit.
        RecipeError: epochs or sequence length cannot be used.
    """
    rejected: list[Rejected] = []
    short: list[Rung] = []
    for rung in _list_rungs(choice.spec, hardware, recipe, dataset.longest_example, rejected):
        if rung.shortage:
            short.append(rung)
            rejected.append(Rejected(choice=rung.choice, reason=rung.shortage))
            continue
        told = {row.choice for row in rejected}
        earlier = [row for row in choice.rejected if row.choice not in told]
        rejected += explain_other_methods(rung, hardware, recipe, told)
        return _write_plan(rung, hardware, dataset, recipe, (*rejected, *earlier))
    raise explain_failure(hardware, recipe, short, rejected, dataset.longest_example)


def recheck_plan(plan: TrainPlan, hardware: Hardware) -> None:
    """Look whether an older plan still fits.

    Raises:
        NotFreeError: memory or disk is held by something else now.
        ResourceError: its device is gone.
    """
    device = choose_device(hardware)
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
    longest_example: int,
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
        climb(spec, method, hardware, recipe, longest_example)
        for method, obstacle in obstacles.items()
        if not obstacle
    ]


def _write_plan(
    rung: Rung,
    hardware: Hardware,
    dataset: Dataset,
    recipe: TuneRecipe,
    rejected: tuple[Rejected, ...],
) -> TrainPlan:
    training, device = rung.training, rung.device
    steps = plan_steps(dataset.train.num_tokens, training.sequence_length, recipe)
    workload = Workload(
        train_tokens=dataset.train.num_tokens,
        valid_tokens=dataset.valid.num_tokens,
        test_tokens=dataset.test.num_tokens,
        num_epochs=steps.num_epochs,
        num_steps=steps.num_steps,
        trial_steps=steps.trial_steps if recipe.tries_rates else 0,
    )
    return TrainPlan(
        base=rung.spec.name,
        method=training.method,
        device=device.name,
        compute_dtype="bfloat16" if training.compute_dtype == "bfloat16" else "float32",
        rank=training.rank,
        tunes_head=training.tunes_head,
        tunes_embeddings=training.tunes_embeddings,
        recompute=training.recompute,
        returns_memory=training.returns_memory,
        sequence_length=training.sequence_length,
        packs_per_step=steps.packs_per_step,
        num_epochs=steps.num_epochs,
        num_steps=steps.num_steps,
        threads=recipe.threads if isinstance(recipe.threads, int) else hardware.cpu.num_cores,
        memory=rung.memory,
        memory_limit_bytes=device.limit_bytes,
        seconds=estimate_seconds(rung.spec, training, workload, hardware.cpu, device.gpu),
        disk_bytes=rung.disk_bytes,
        rejected=rejected,
        reason=explain_choice(rung, recipe, rejected),
    )


def _measure_training(rung: Rung, hardware: Hardware, recipe: TuneRecipe, tokens: int) -> float:
    """Seconds of the tuning stage for so many training tokens."""
    steps = plan_steps(tokens, rung.training.sequence_length, recipe)
    workload = Workload(
        train_tokens=tokens,
        valid_tokens=tokens // 8,
        test_tokens=tokens // 5,
        num_epochs=steps.num_epochs,
        num_steps=steps.num_steps,
        trial_steps=steps.trial_steps if recipe.tries_rates else 0,
    )
    seconds = estimate_seconds(rung.spec, rung.training, workload, hardware.cpu, rung.device.gpu)
    return seconds["tune"]
