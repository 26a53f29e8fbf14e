"""How a model will be trained, with the reasons."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from appliance.values.machine import MeasuredRates, Rejected
from appliance.values.record import Value

Method = Literal["qlora", "lora", "adapter", "full", "prompt"]


Decider = Literal["person", "recipe", "planner", "probe"]
"""Who decided a value of a plan: --set or --base, a recipe file, the planner, or a measurement."""


class MemoryEstimate(Value):
    """Memory of training by term, in bytes, at the moment of its peak.

    Attributes:
        runtime_bytes: the program and its libraries; on a GPU, its context.
        weights_bytes: of the base, frozen.
        trainable_bytes: weights that learn, and a copy of them while learning rates are tried.
        gradients_bytes: that are there at the peak.
        optimizer_bytes: AdamW's moments.
        activations_bytes: saved for the backward pass.
        head_bytes: logits and what the loss needs beside them, when the peak is there.
        workspace_bytes: what passes through the backward pass, when the peak is there.
        allocator_bytes: what the allocator holds on top.
        corrected_bytes: what earlier runs on this machine measured beyond these terms; may be
            negative.
        peak_at: "loss", "backward", "end" (of the backward pass) or "update".
    """

    runtime_bytes: int
    weights_bytes: int
    trainable_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    head_bytes: int
    workspace_bytes: int = 0
    allocator_bytes: int = 0
    corrected_bytes: int = 0
    peak_at: str = ""

    def list_terms(self) -> dict[str, int]:
        """Terms that are not nought, by name without its unit."""
        terms = self.model_dump(exclude={"peak_at"})
        return {name.removesuffix("_bytes"): value for name, value in terms.items() if value}

    @property
    def moving_bytes(self) -> int:
        """What a step takes and gives back: the part that a formula may misjudge."""
        return (
            self.activations_bytes + self.head_bytes + self.workspace_bytes + self.allocator_bytes
        )

    @property
    def total_bytes(self) -> int:
        """Sum of the terms."""
        return sum(self.list_terms().values())


class SpeedEstimate(Value):
    """How fast training reads, with the range in which the measured speed is expected.

    Attributes:
        tokens_per_second: of training.
        low: slowest that is likely; `high` is the fastest.
        correction: what earlier runs on this machine multiplied it with; 1 without any.
    """

    tokens_per_second: float
    low: float
    high: float
    correction: float = 1.0


class Decision(Value):
    """One value of a plan, who decided it, and why.

    Attributes:
        name: as a recipe calls it, such as "tune.method", or "base".
        value: in words.
        reason: with numbers; "" where a person needs none.
    """

    name: str
    value: str
    by: Decider
    reason: str = ""


class TrainPlan(Value):
    """How the model will be trained, with the reasons.

    Attributes:
        device: "cpu" or "cuda:0".
        compute_dtype: "float32" or "bfloat16".
        rank: of the low-rank update (qlora, lora), width of the bottleneck (adapter), or number of
            virtual tokens (prompt).
        tunes_head: whether the language-model head gets a low-rank update too.
        tunes_embeddings: whether embeddings and head learn whole (low-rank methods).
        recompute: whether activations are computed twice to save memory.
        returns_memory: whether freed memory goes back to the system at once (CPU): several times
            less is held, at fewer tokens a second (a tenth to a third).
        keeps_unpacked: whether the matrices of a base in NF4 are unpacked once and held so (CPU):
            the same numbers in eight times the memory, and nothing is unpacked in a step.
        sequence_length: tokens of a pack: the micro-batch.
        packs_per_step: packs whose gradients make one optimizer update.
        num_epochs: times the training split is read at most.
        num_steps: optimizer updates at most.
        threads: processor cores the job uses.
        num_processes: that train together on each of `num_nodes` machines.
        speed: of training; None in plans of older versions.
        seconds: expected time by stage.
        export_memory_bytes: peak of RAM while the result is merged, exported and compared.
        disk_bytes: disk the run needs.
        decisions: every value of the plan, with who decided it.
        reason: why this choice, for people.
    """

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"num_processes", "num_nodes"})

    base: str
    method: Method
    device: str
    compute_dtype: Literal["float32", "bfloat16"]
    rank: int
    tunes_head: bool
    tunes_embeddings: bool = False
    recompute: bool
    returns_memory: bool = False
    keeps_unpacked: bool = False
    sequence_length: int
    packs_per_step: int
    num_epochs: int
    num_steps: int
    threads: int
    num_processes: int = 1
    num_nodes: int = 1
    memory: MemoryEstimate
    memory_limit_bytes: int
    speed: SpeedEstimate | None = None
    seconds: dict[str, float]
    export_memory_bytes: int = 0
    disk_bytes: int
    decisions: tuple[Decision, ...] = ()
    rejected: tuple[Rejected, ...]
    reason: str


class RunNote(Value):
    """What a finished run measured beside what its plan said; no names, no text.

    Attributes:
        kind: of the device.
        planned_bytes: before any correction; `moving_bytes` is the part that comes and goes.
        planned_tokens_per_second: before any correction; 0 where the plan was not carried out,
            because memory ran out.
    """

    kind: Literal["cpu", "cuda"]
    method: Method
    returns_memory: bool
    planned_bytes: int
    moving_bytes: int
    measured_bytes: int
    planned_tokens_per_second: float
    tokens_per_second: float


class RunNotes(Value):
    """What was measured on one machine: by the runs, and by a probe of the device.

    Attributes:
        runs: the newest last.
        probed_bytes: by kind of device, what the probe measured beyond the closed form.
    """

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"runs", "probed_bytes"})

    runs: tuple[RunNote, ...] = ()
    probed_bytes: dict[str, int] = Field(default_factory=dict)


class PlanTerms(Value):
    """What bounds a plan, and what is known about the machine beyond what it is.

    Attributes:
        memory_bytes: of the device that trains, at most; None for what is free.
        disk_bytes: of the run, at most; None for what is free.
        seconds: of training, at most; None for a night, which only decides between bases.
        by_person: keys that came from the command line, such as "tune.rank" or "base".
        rates: measured speeds of the machine; None for nothing.
        notes: what earlier runs measured; None for nothing.
    """

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"by_person", "rates", "notes"})

    memory_bytes: int | None = None
    disk_bytes: int | None = None
    seconds: float | None = None
    by_person: tuple[str, ...] = ()
    rates: MeasuredRates | None = None
    notes: RunNotes | None = None


class CapacityRow(Value):
    """What a machine can do with one base and one method: a row of the capacity table.

    Attributes:
        base: its name.
        fits: whether it can be trained and exported here.
        longest_sequence: most tokens a pack may have; 0 where nothing fits.
        tokens_per_second: of training, at the pack length that the planner would take; 0 where
            nothing fits.
        hours_per_million_tokens: of training; 0 where nothing fits.
        memory_bytes: peak of training at that pack length; where nothing fits, the least it needs.
        serve_tokens_per_second: of answering one person, exported at int4; 0 where it does not fit.
        serve_memory_bytes: of answering, the program included.
        reason: why it does not fit, in numbers; "" when it fits.
    """

    base: str
    num_parameters: int
    method: Method
    fits: bool
    longest_sequence: int
    tokens_per_second: float
    hours_per_million_tokens: float
    memory_bytes: int
    serve_tokens_per_second: float
    serve_memory_bytes: int
    reason: str = ""
