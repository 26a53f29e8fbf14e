"""The machine, and the base models on it."""

from __future__ import annotations

from typing import ClassVar, Literal

from appliance.values.record import Value


class GpuProcess(Value):
    """A program that holds memory of a GPU: its number and name, never its arguments."""

    pid: int
    name: str
    used_bytes: int


class GpuSlice(Value):
    """A part of a card that the driver was told to divide (MIG)."""

    name: str
    uuid: str
    total_bytes: int
    free_bytes: int


class Gpu(Value):
    """An accelerator that torch can use, or why it cannot.

    Attributes:
        name: of the card; with its slice, where it is divided.
        total_bytes: memory; of the slice that CUDA takes, where the card is divided.
        free_bytes: what nothing holds now.
        capability: compute capability, such as "8.9"; "0.0" where there is no such number.
        usable: whether this program can train on it; `why_not` and `fix` say what is missing.
        kind: the library that torch speaks to it with.
        driver: version of its driver; "" where it is unknown.
        ecc_errors: errors of its memory that were not corrected since the driver started; None
            where the card does not count them.
        slowdown: what holds its clock down now, such as "heat"; "" for nothing.
        slices: all parts of a divided card.
        peak_flops_per_second: dense 16-bit matrix products, from the data sheet; 0: unknown card.
        peak_bytes_per_second: of its memory, from the data sheet; 0: unknown card.
    """

    name: str
    total_bytes: int
    free_bytes: int
    capability: str
    supports_bf16: bool
    usable: bool
    why_not: str = ""
    fix: str = ""
    kind: Literal["cuda", "rocm", "xpu"] = "cuda"
    uuid: str = ""
    driver: str = ""
    supports_fp16: bool = True
    supports_int8: bool = True
    power_limit_watts: float | None = None
    temperature_celsius: int | None = None
    ecc_errors: int | None = None
    slowdown: str = ""
    processes: tuple[GpuProcess, ...] = ()
    slices: tuple[GpuSlice, ...] = ()
    peak_flops_per_second: float = 0.0
    peak_bytes_per_second: float = 0.0


class Cpu(Value):
    """The processor as the job sees it: cores inside the cgroup and affinity, measured speed."""

    name: str
    num_cores: int
    instruction_sets: tuple[str, ...]
    gflops_fp32: float


class GpuRates(Value):
    """What one GPU was measured to do.

    Attributes:
        name: of the card.
        bf16_flops_per_second: dense 16-bit matrix products (float16 where there is no bfloat16).
        memory_bytes_per_second: of its own memory, reads and writes together.
    """

    name: str
    bf16_flops_per_second: float
    memory_bytes_per_second: float


class MeasuredRates(Value):
    """What this machine was measured to do, with every core the process may use.

    Attributes:
        fp32_flops_per_second: matrix products as training does them: forward, gradient of the
            input, gradient of the weight.
        bf16_flops_per_second: the same in bfloat16; far below fp32 where it is emulated.
        memory_bytes_per_second: of main memory, reads and writes together (triad of STREAM).
        disk_write_bytes_per_second: where runs are written, until the data is on the disk.
        measured_at: seconds since 1970.
        threads: that computed.
        cpu_share: part of these cores that the measurement got; other programs had the rest.
        gpus: of every usable GPU, in the order of `Hardware.gpus`.
    """

    fp32_flops_per_second: float
    bf16_flops_per_second: float
    memory_bytes_per_second: float
    disk_write_bytes_per_second: float
    measured_at: float
    threads: int
    cpu_share: float = 1.0
    gpus: tuple[GpuRates, ...] = ()


class Software(Value):
    """What a job stands on.

    Attributes:
        versions: by package; those that are missing are left out.
        torch_build: what torch was built for; "" where it is missing.
        providers: execution providers of ONNX Runtime; empty where it was not asked.
    """

    versions: dict[str, str]
    torch_build: Literal["cpu", "cuda", "rocm", "xpu", ""]
    providers: tuple[str, ...] = ()


class Limits(Value):
    """Limits of the system on this process; None where there is none.

    Attributes:
        open_files: files and sockets at a time.
        processes: processes and threads of this user, or of the container.
        address_space_bytes: memory a process may map.
        file_bytes: size of a file it may write.
        locked_bytes: memory it may pin for copies to a GPU.
        core_dump_bytes: size of a memory image that is written when it crashes.
    """

    open_files: int | None = None
    processes: int | None = None
    address_space_bytes: int | None = None
    file_bytes: int | None = None
    locked_bytes: int | None = None
    core_dump_bytes: int | None = None


class Finding(Value):
    """Something about the machine that should be mended, and how.

    Attributes:
        level: "error" stops jobs or wastes a GPU, "warning" makes them slow or less safe, "note" is
            good to know.
    """

    what: str
    fix: str
    level: Literal["error", "warning", "note"] = "warning"


class Hardware(Value):
    """What the machine has, measured now.

    Attributes:
        memory_bytes: RAM a job can still take, inside the cgroup limit.
        memory_total_bytes: RAM in all, inside the cgroup limit.
        disk_free_bytes: free where runs are written.
        swap_total_bytes: never counted as memory: training in swap does not finish.
    """

    VOLATILE: ClassVar[frozenset[str]] = frozenset(
        {
            "gpus",
            "cpu",
            "memory_bytes",
            "memory_total_bytes",
            "disk_free_bytes",
            "swap_total_bytes",
            "swap_free_bytes",
            "limits",
            "software",
            "findings",
        }
    )

    gpus: tuple[Gpu, ...]
    cpu: Cpu
    memory_bytes: int
    memory_total_bytes: int
    disk_free_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    limits: Limits | None = None
    software: Software | None = None
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


class NewTerms(Value):
    """A base whose tokenizer learned words of the domain, beside the one it was made from.

    Attributes:
        choice: the base that is trained.
        origin: the same base before; the same one where there are no new tokens.
        num_terms: new tokens.
        parts_file: JSON, ids of the pieces of each new token by its id; "" where there is none.
    """

    choice: BaseChoice
    origin: BaseSpec
    num_terms: int = 0
    parts_file: str = ""
