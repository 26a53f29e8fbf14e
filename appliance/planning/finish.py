"""From the rung that was taken to the plan: steps, seconds, decisions, and every reason."""

from __future__ import annotations

from appliance.planning.decisions import list_decisions
from appliance.planning.device_speed import find_speed
from appliance.planning.processes import count_processes, decide_processes, tell_processes
from appliance.planning.reasons import explain_choice, explain_other_methods
from appliance.planning.rungs import Rung
from appliance.planning.schedule import Text, plan_steps
from appliance.planning.speed import Workload, estimate_seconds
from appliance.recipe import TuneRecipe
from appliance.values import BaseChoice, Dataset, Hardware, PlanTerms, Rejected, TrainPlan


def finish_plan(
    rung: Rung,
    hardware: Hardware,
    choice: BaseChoice,
    dataset: Dataset,
    recipe: TuneRecipe,
    terms: PlanTerms,
    rejected: list[Rejected],
) -> TrainPlan:
    """The plan of a rung, with every reason that was given on the way."""
    told = {row.choice for row in rejected}
    earlier = [row for row in choice.rejected if row.choice not in told]
    others = explain_other_methods(rung, hardware, recipe, told, terms)
    reasons = (*rejected, *others, *rung.others, *earlier)
    return _write_plan(rung, hardware, dataset, recipe, terms, reasons)


def read_text(dataset: Dataset) -> Text:
    """What is to be learned."""
    examples = max(1, dataset.train.num_examples)
    return Text(
        train_tokens=dataset.train.num_tokens,
        longest_example=dataset.longest_example,
        mean_example=round(dataset.train.num_tokens / examples),
    )


def measure_training(
    rung: Rung, hardware: Hardware, recipe: TuneRecipe, text: Text, terms: PlanTerms
) -> float:
    """Seconds of the tuning stage for so many training tokens."""
    steps = plan_steps(text.train_tokens, rung.training.sequence_length, recipe)
    workload = Workload(
        train_tokens=text.train_tokens,
        valid_tokens=text.train_tokens // 8,
        test_tokens=text.train_tokens // 5,
        num_epochs=steps.num_epochs,
        num_steps=steps.num_steps,
        trial_steps=steps.trial_steps if recipe.tries_rates else 0,
    )
    speed = find_speed(hardware, rung.device.gpu, terms.rates)
    return estimate_seconds(rung.spec, rung.training, workload, speed, rung.speed)["tune"]


def _write_plan(
    rung: Rung,
    hardware: Hardware,
    dataset: Dataset,
    recipe: TuneRecipe,
    terms: PlanTerms,
    rejected: tuple[Rejected, ...],
) -> TrainPlan:
    training, device, text = rung.training, rung.device, read_text(dataset)
    steps = plan_steps(text.train_tokens, training.sequence_length, recipe)
    processes = count_processes(hardware, device, rung.memory, recipe, steps.packs_per_step)
    threads = recipe.threads if isinstance(recipe.threads, int) else hardware.cpu.num_cores
    workload = Workload(
        train_tokens=text.train_tokens,
        valid_tokens=dataset.valid.num_tokens,
        test_tokens=dataset.test.num_tokens,
        num_epochs=steps.num_epochs,
        num_steps=steps.num_steps,
        trial_steps=steps.trial_steps if recipe.tries_rates else 0,
    )
    speed = find_speed(hardware, device.gpu, terms.rates)
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
        keeps_unpacked=training.keeps_unpacked,
        sequence_length=training.sequence_length,
        packs_per_step=steps.packs_per_step,
        num_epochs=steps.num_epochs,
        num_steps=steps.num_steps,
        threads=threads,
        num_processes=processes,
        num_nodes=recipe.num_nodes,
        memory=rung.memory,
        memory_limit_bytes=device.limit_bytes,
        speed=rung.speed,
        seconds=estimate_seconds(rung.spec, training, workload, speed, rung.speed),
        export_memory_bytes=rung.export_bytes,
        disk_bytes=rung.disk_bytes,
        decisions=(
            *list_decisions(rung, steps, hardware, recipe, text, terms, threads),
            decide_processes(processes, device, recipe, terms),
        ),
        rejected=rejected,
        reason=explain_choice(rung, recipe, rejected)
        + tell_processes(processes, recipe.num_nodes, device),
    )
