"""How many processes train together: one, unless several GPUs are there or a recipe asks for more.

Nothing is planned to be faster for it: several GPUs were never measured, and `scripts/sim-scale`
is paper. So times are those of one process, and the plan says so.
"""

from __future__ import annotations

from dataclasses import replace

from appliance.errors import ResourceError
from appliance.planning.device import GPU_MEMORY_SHARE, Device, choose_device
from appliance.recipe import TuneRecipe
from appliance.values import Decision, Hardware, MemoryEstimate, PlanTerms, TrainPlan


def share_device(device: Device, num_processes: int) -> Device:
    """The part of a device that one of several processes may use: of the CPU's memory, a share."""
    if device.kind != "cpu" or num_processes == 1:
        return device
    return replace(
        device,
        label=f"each of {num_processes} processes",
        limit_bytes=device.limit_bytes // num_processes,
    )


def count_again(plan: TrainPlan, hardware: Hardware, recipe: TuneRecipe) -> TrainPlan:
    """A plan of an earlier attempt with as many processes as there can and should be now.

    Raises:
        ResourceError: the recipe asks for more than there are GPUs with room.
    """
    device = choose_device(hardware)
    number = count_processes(hardware, device, plan.memory, recipe, plan.packs_per_step)
    return plan.model_copy(update={"num_processes": number, "num_nodes": recipe.num_nodes})


def count_processes(
    hardware: Hardware,
    device: Device,
    memory: MemoryEstimate,
    recipe: TuneRecipe,
    packs_per_step: int,
) -> int:
    """Processes on each machine: what the recipe says; else GPUs that fit, as long as all work.

    Args:
        hardware: what is there now.
        device: where the first of them trains.
        memory: that each needs.
        recipe: may fix it.
        packs_per_step: more processes than packs would wait.

    Raises:
        ResourceError: the recipe asks for more than there are GPUs with room.
    """
    fitting = count_fitting(hardware, device, memory)
    if recipe.num_processes == "auto":
        return 1 if device.kind == "cpu" else max(1, min(fitting, packs_per_step))
    if device.kind != "cpu" and recipe.num_processes > fitting:
        raise ResourceError(
            f"{recipe.num_processes} processes need as many GPUs with room",
            why=f"{fitting} from {device.label} on can hold this training",
            fix=f"--set tune.num_processes={max(1, fitting)}",
        )
    return recipe.num_processes


def count_fitting(hardware: Hardware, device: Device, memory: MemoryEstimate) -> int:
    """GPUs in a row, from the first that is used, that can hold a training."""
    if device.kind == "cpu":
        return 0
    count = 0
    for gpu in hardware.gpus[int(device.name.partition(":")[2]) :]:
        if not gpu.usable or GPU_MEMORY_SHARE * gpu.free_bytes < memory.total_bytes:
            break
        count += 1
    return count


def decide_processes(
    num_processes: int, device: Device, recipe: TuneRecipe, terms: PlanTerms
) -> Decision:
    """The choice with its reason."""
    is_fixed = recipe.num_processes != "auto"
    by_person = "tune.num_processes" in terms.by_person
    untried = "times are those of one process: several on GPUs were not measured yet"
    if num_processes > 1:
        reason = untried if device.kind != "cpu" else "they share cores and memory"
    else:
        reason = (
            "one uses all cores" if device.kind == "cpu" else "one GPU fits, or one pack a step"
        )
    return Decision(
        name="tune.num_processes",
        value=str(num_processes),
        by=("person" if by_person else "recipe") if is_fixed else "planner",
        reason=reason,
    )


def tell_processes(num_processes: int, num_nodes: int, device: Device) -> str:
    """The same for the reason of a plan; "" for one process."""
    if num_processes * num_nodes == 1:
        return ""
    what = "processes" if device.kind == "cpu" else "GPUs"
    where = f" on each of {num_nodes} machines" if num_nodes > 1 else ""
    return f"; {num_processes} {what}{where} train together, times are those of one"
