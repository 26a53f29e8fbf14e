"""The planner: which base, which method, how long; with a reason for everything it did not take.

The ladder: for the largest base first, qlora, then adapter on the same 4-bit base; then the next
smaller base. LoRA in 16 or 32 bit and full fine-tuning only when the recipe asks for them.
"""

from __future__ import annotations

from appliance.errors import BaseModelError, ResourceError
from appliance.planning.memory import Training
from appliance.planning.rungs import (
    Device,
    Rung,
    choose_device,
    climb,
    find_obstacle,
    find_shortage,
    measure_rung,
)
from appliance.planning.schedule import plan_steps
from appliance.planning.speed import Workload, estimate_seconds
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.units import format_bytes, format_count, format_seconds
from appliance.values import (
    BaseChoice,
    BaseChoices,
    BaseSpec,
    Dataset,
    Hardware,
    Method,
    Rejected,
    TrainPlan,
)

LADDER: tuple[Method, ...] = ("qlora", "adapter")
"""Methods that the planner takes by itself, the best first."""

ON_REQUEST: tuple[Method, ...] = ("lora", "full")
"""Methods that only a recipe chooses."""

TIME_BUDGET_SECONDS = 12 * 3600.0
"""A base whose training would take longer gives way to a smaller one: a night."""

NOMINAL_CHARACTERS = 1_000_000
"""Text assumed where no corpus is known yet."""

CHARACTERS_PER_TOKEN = 3.5
"""Of English text, for bases whose tokenizer has not read it yet."""

TRAIN_SHARE = 0.75
"""Part of a corpus that goes into the training split."""


def choose_base(
    hardware: Hardware,
    bases: BaseChoices,
    recipe: TuneRecipe,
    stage: StageFolder | None = None,
) -> BaseChoice:
    """The base for a corpus of about a megabyte: `choose_base_for` before the corpus is known."""
    return choose_base_for(NOMINAL_CHARACTERS, hardware, bases, recipe)


def choose_base_for(
    num_characters: int, hardware: Hardware, bases: BaseChoices, recipe: TuneRecipe
) -> BaseChoice:
    """The largest base that can be exported, fits, and is trained within the time budget.

    Where all that fit take longer than the budget, the fastest of them is taken.

    Args:
        num_characters: of clean text.
        hardware: what is there now.
        bases: what can be chosen from.
        recipe: may fix the method.

    Raises:
        BaseModelError: no base can be exported or used with the method.
        ResourceError: none fits.
    """
    tokens = round(TRAIN_SHARE * num_characters / CHARACTERS_PER_TOKEN)
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
                rejected.append(Rejected(choice=rung.choice, reason=_explain_time(seconds)))
            else:
                smaller = [_explain_smaller(other, spec) for other in specs[number + 1 :]]
                return BaseChoice(spec=spec, rejected=(*rejected, *smaller))
    if slow:
        fastest = min(slow, key=lambda pair: pair[0])[1]
        others = [row for row in rejected if not row.choice.startswith(f"{fastest.spec.name} ·")]
        return BaseChoice(spec=fastest.spec, rejected=tuple(others))
    raise _explain_failure(hardware, recipe, short, rejected)


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
        rejected += _explain_other_methods(rung, hardware, recipe, told)
        return _write_plan(rung, hardware, dataset, recipe, (*rejected, *earlier))
    raise _explain_failure(hardware, recipe, short, rejected)


def recheck_plan(plan: TrainPlan, hardware: Hardware) -> None:
    """Look whether an older plan still fits.

    Raises:
        ResourceError: memory or disk has become too small, or its device is gone.
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
        raise ResourceError(
            "the plan of this run does not fit any more",
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
    methods = LADDER if recipe.method == "auto" else (recipe.method,)
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
        trial_steps=steps.trial_steps if recipe.lr == "auto" else 0,
    )
    return TrainPlan(
        base=rung.spec.name,
        method=training.method,
        device=device.name,
        compute_dtype="bfloat16" if training.compute_dtype == "bfloat16" else "float32",
        rank=training.rank,
        tunes_head=training.tunes_head,
        recompute=training.recompute,
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
        reason=_explain_choice(rung, recipe, rejected),
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
        trial_steps=steps.trial_steps if recipe.lr == "auto" else 0,
    )
    seconds = estimate_seconds(
        rung.spec, rung.training, workload, hardware.cpu, rung.device.gpu
    )
    return seconds["rate probe"] + seconds["tune"]


def _explain_choice(rung: Rung, recipe: TuneRecipe, rejected: tuple[Rejected, ...]) -> str:
    method = rung.training.method
    larger = [row for row in rejected if "the chosen base is larger" not in row.reason]
    what = "the recipe asks for it" if recipe.method != "auto" else f"largest base whose {method} fits"
    parts = [what, "exportable to onnx (checked)"]
    if recipe.method == "auto" and method == "qlora":
        parts.insert(1, "adapter not needed")
    if rung.training.recompute:
        parts.append("activations are computed twice to save memory")
    others = {row.choice.split(" · ")[0] for row in larger} - {rung.spec.name}
    if others:
        parts.append(f"{len(others)} other base{'s' if len(others) > 1 else ''} rejected")
    return "; ".join(parts)


def _explain_other_methods(
    rung: Rung, hardware: Hardware, recipe: TuneRecipe, told: set[str]
) -> list[Rejected]:
    """Why the other methods of the chosen base were not taken, with what they would need."""
    rows = []
    for method in (*LADDER, *ON_REQUEST):
        choice = f"{rung.spec.name} · {method}"
        if method == rung.training.method or choice in told:
            continue
        obstacle = find_obstacle(rung.spec, method, recipe)
        other = climb(rung.spec, method, hardware, recipe, 0)
        needs = f"would need {format_bytes(other.memory.total_bytes)}"
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


def _explain_smaller(other: BaseSpec, chosen: BaseSpec) -> Rejected:
    sizes = f"{format_count(chosen.num_parameters)} against {format_count(other.num_parameters)}"
    return Rejected(choice=other.name, reason=f"the chosen base is larger: {sizes} parameters")


def _explain_time(seconds: float) -> str:
    budget = format_seconds(TIME_BUDGET_SECONDS)
    return f"would train for about {format_seconds(seconds)}, the budget is {budget}"


def _explain_failure(
    hardware: Hardware, recipe: TuneRecipe, short: list[Rung], rejected: list[Rejected]
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
        fix=_find_fix(closest, hardware, recipe),
    )


def _find_fix(rung: Rung, hardware: Hardware, recipe: TuneRecipe) -> str:
    """What a person can change so that it fits, tried out; else what the machine lacks."""
    for length in (2048, 1024, 512, 256, 128, 64):
        if length >= rung.training.sequence_length:
            continue
        trial = _try_length(rung, hardware, length, recompute=True)
        if not trial.shortage:
            needs = format_bytes(trial.memory.total_bytes)
            return f"--set tune.sequence_length={length} ({needs})"
    if recipe.method in ON_REQUEST:
        other = recipe.model_copy(update={"method": "qlora"})
        trial = climb(rung.spec, "qlora", hardware, other)
        if not trial.shortage:
            return f"--set tune.method=qlora ({format_bytes(trial.memory.total_bytes)})"
    if rung.spec.name != "embedded":
        return "choose a smaller base with --base (the smallest is --base embedded), or free memory"
    if "disk" in rung.shortage:
        return "delete old runs, or choose another place with --runs"
    return "stop other programs, or raise the memory limit of the container or unit"


def _try_length(rung: Rung, hardware: Hardware, length: int, *, recompute: bool) -> Rung:
    old = rung.training
    training = Training(
        method=old.method,
        sequence_length=length,
        rank=old.rank,
        tunes_head=old.tunes_head,
        recompute=recompute,
        device=old.device,
        compute_dtype=old.compute_dtype,
    )
    device: Device = rung.device
    return measure_rung(rung.spec, training, hardware, device)
