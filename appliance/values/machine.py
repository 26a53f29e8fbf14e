"""The machine, and the base models on it."""

from __future__ import annotations

from typing import ClassVar

from appliance.values.record import Value


class Gpu(Value):
    """An accelerator that torch can use, or why it cannot."""

    name: str
    total_bytes: int
    free_bytes: int
    capability: str
    supports_bf16: bool
    usable: bool
    why_not: str = ""


class Cpu(Value):
    """The processor as the job sees it: cores inside the cgroup and affinity, measured speed."""

    name: str
    num_cores: int
    instruction_sets: tuple[str, ...]
    gflops_fp32: float


class Finding(Value):
    """Something about the machine that should be mended, and how."""

    what: str
    fix: str


class Hardware(Value):
    """What the machine has, measured now.

    Attributes:
        memory_bytes: RAM a job can still take, inside the cgroup limit.
        memory_total_bytes: RAM in all, inside the cgroup limit.
        disk_free_bytes: free where runs are written.
    """

    VOLATILE: ClassVar[frozenset[str]] = frozenset(
        {"gpus", "cpu", "memory_bytes", "memory_total_bytes", "disk_free_bytes", "findings"}
    )

    gpus: tuple[Gpu, ...]
    cpu: Cpu
    memory_bytes: int
    memory_total_bytes: int
    disk_free_bytes: int
    findings: tuple[Finding, ...] = ()


class BaseSpec(Value):
    """A base model on disk: its shape, read from config.json and the weight headers.

    Attributes:
        name: how people call it.
        folder: absolute path.
        architecture: class name from config.json, such as LlamaForCausalLM.
        num_parameters: all weights, from the safetensors headers.
        weights_bytes: bytes of the weight files.
        context: positions it was made for.
        tied: whether head and embedding are one matrix.
        exportable: whether the exporter handles it; `why_not` says why it does not.
        sha256: over the configuration, tokenizer and weight files.
    """

    name: str
    folder: str
    architecture: str
    model_type: str
    num_layers: int
    width: int
    intermediate_width: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    vocab_size: int
    context: int
    tied: bool
    num_parameters: int
    weights_bytes: int
    dtype: str
    licence: str
    exportable: bool
    why_not: str = ""
    sha256: str


class Rejected(Value):
    """A choice that was not taken, and why, in numbers."""

    choice: str
    reason: str


class BaseChoices(Value):
    """Base models that can be chosen from, and those that are there but cannot be used."""

    specs: tuple[BaseSpec, ...]
    broken: tuple[Rejected, ...] = ()


class BaseChoice(Value):
    """The base model that fits best, and why the others do not."""

    spec: BaseSpec
    rejected: tuple[Rejected, ...] = ()
