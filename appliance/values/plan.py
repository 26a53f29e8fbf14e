"""How a model will be trained, with the reasons."""

from __future__ import annotations

from typing import Literal

from appliance.values.machine import Rejected
from appliance.values.record import Value

Method = Literal["qlora", "lora", "adapter", "full", "prompt"]


class MemoryEstimate(Value):
    """Peak memory of training by term, in bytes."""

    runtime_bytes: int
    weights_bytes: int
    trainable_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    head_bytes: int

    @property
    def total_bytes(self) -> int:
        """Sum of the terms."""
        return (
            self.runtime_bytes
            + self.weights_bytes
            + self.trainable_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
            + self.head_bytes
        )


class TrainPlan(Value):
    """How the model will be trained, with the reasons.

    Attributes:
        device: "cpu" or "cuda:0".
        compute_dtype: "float32" or "bfloat16".
        rank: of the low-rank update (qlora, lora), width of the bottleneck (adapter), or number of
            virtual tokens (prompt).
        tunes_head: whether the language-model head gets a low-rank update too.
        recompute: whether activations are computed twice to save memory.
        returns_memory: whether freed memory goes back to the system at once (CPU): several times
            less is held, at a tenth fewer tokens a second.
        sequence_length: tokens of a pack: the micro-batch.
        packs_per_step: packs whose gradients make one optimizer update.
        num_epochs: times the training split is read at most.
        num_steps: optimizer updates at most.
        threads: processor cores the job uses.
        seconds: expected time by stage.
        disk_bytes: disk the run needs.
        reason: why this choice, for people.
    """

    base: str
    method: Method
    device: str
    compute_dtype: Literal["float32", "bfloat16"]
    rank: int
    tunes_head: bool
    recompute: bool
    returns_memory: bool = False
    sequence_length: int
    packs_per_step: int
    num_epochs: int
    num_steps: int
    threads: int
    memory: MemoryEstimate
    memory_limit_bytes: int
    seconds: dict[str, float]
    disk_bytes: int
    rejected: tuple[Rejected, ...]
    reason: str


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
