"""How a base is trained, and how many weights that makes, frozen and learning."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.values import BaseSpec, Method, TrainPlan

ADAPTER_TOP_SHARE = 0.5
"""Part of the layers that get a bottleneck: TOP_SHARE in `tuning/methods/adapter.py`."""

QUANTIZED: frozenset[Method] = frozenset({"qlora", "adapter", "prompt"})
"""Methods whose base lies in NF4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a base is trained, as far as memory and time depend on it.

    Attributes:
        sequence_length: tokens of a pack: the micro-batch.
        packs_per_step: with one, gradients begin only in the backward pass; with more they are
            there all the time.
        tries_rates: learning rates are tried first, from a copy of what learns.
        mean_example: tokens of an example on the average; attention stays inside an example. 0
            takes a pack as one example.
        keeps_unpacked: whether matrices in NF4 are unpacked once, when the base is loaded.
        trunk_share: part of the passes in which adapter tuning runs its frozen trunk: less than 1
            where hidden states are kept from the first epoch on (`planning/trunk.py`).
    """

    method: Method
    sequence_length: int
    rank: int = 16
    tunes_head: bool = False
    tunes_embeddings: bool = False
    recompute: bool = False
    device: str = "cpu"
    compute_dtype: str = "float32"
    returns_memory: bool = False
    packs_per_step: int = 2
    tries_rates: bool = False
    mean_example: int = 0
    keeps_unpacked: bool = False
    trunk_share: float = 1.0

    @property
    def kind(self) -> str:
        """The kind of the device: "cpu" or "cuda"."""
        return self.device.split(":")[0]

    @property
    def is_quantized(self) -> bool:
        """Whether the base lies in NF4 while it is trained."""
        return self.method in QUANTIZED and not self.keeps_unpacked

    @property
    def runs_fused(self) -> bool:
        """Whether layers are computed in fewer passes, around a frozen base (`tuning/fused.py`)."""
        return self.method != "full" and self.compute_bytes == 4

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in the compute type."""
        return 2 if self.compute_dtype == "bfloat16" else 4


def read_training(plan: TrainPlan) -> Training:
    """How a plan trains."""
    return Training(
        method=plan.method,
        sequence_length=plan.sequence_length,
        rank=plan.rank,
        tunes_head=plan.tunes_head,
        tunes_embeddings=plan.tunes_embeddings,
        recompute=plan.recompute,
        device=plan.device,
        compute_dtype=plan.compute_dtype,
    )


def count_linear(spec: BaseSpec) -> int:
    """Weights of the decoder's matrices, over all layers."""
    queries, keys = head_widths(spec)
    attention = 2 * spec.width * queries + 2 * spec.width * keys
    return spec.num_layers * (attention + 3 * spec.width * spec.intermediate_width)


def count_embedding(spec: BaseSpec) -> int:
    """Weights of the embedding and, where it is a matrix of its own, of the head."""
    return spec.vocab_size * spec.width * (1 if spec.tied else 2)


def count_norms(spec: BaseSpec) -> int:
    """Weights of all norms."""
    per_head = 2 * spec.head_width if has_query_norm(spec) else 0
    return spec.num_layers * (count_layer_norms(spec) * spec.width + per_head) + spec.width


def count_trainable(spec: BaseSpec, training: Training) -> int:
    """Weights that learn."""
    if training.method == "full":
        return count_linear(spec) + count_embedding(spec) + count_norms(spec)
    if training.method == "prompt":
        return training.rank * spec.width
    if training.method == "adapter":
        return 3 * spec.width * training.rank * count_adapted_layers(spec)
    head = spec.width + spec.vocab_size if training.tunes_head else 0
    whole = count_embedding(spec) if training.tunes_embeddings else 0
    return training.rank * (spec.num_layers * _sum_linear_sides(spec) + head) + whole


def count_adapted_layers(spec: BaseSpec) -> int:
    """Layers that get a bottleneck."""
    return max(1, round(ADAPTER_TOP_SHARE * spec.num_layers))


def count_linear_layers(spec: BaseSpec) -> int:
    """Linear layers of a decoder layer."""
    return 4 if is_fused(spec) else 7


def head_widths(spec: BaseSpec) -> tuple[int, int]:
    """Widths of all query heads and of all key heads together."""
    return spec.num_heads * spec.head_width, spec.num_kv_heads * spec.head_width


def has_query_norm(spec: BaseSpec) -> bool:
    """Whether queries and keys are normed."""
    return spec.model_type.startswith(("qwen3", "gemma3", "olmo2"))


def count_layer_norms(spec: BaseSpec) -> int:
    """Norms as wide as the model in a decoder layer."""
    return 4 if spec.model_type.startswith(("gemma2", "gemma3")) else 2


def is_fused(spec: BaseSpec) -> bool:
    """Whether queries, keys and values are one matrix, and gate and up another."""
    return spec.model_type.startswith("phi3")


def _sum_linear_sides(spec: BaseSpec) -> int:
    """Weights of an update of rank 1 to all linear layers of a decoder layer."""
    queries, keys = head_widths(spec)
    width, inner = spec.width, spec.intermediate_width
    out = queries + width  # the output projection
    down = inner + width
    if is_fused(spec):
        return (width + queries + 2 * keys) + out + (width + 2 * inner) + down
    return (width + queries) + 2 * (width + keys) + out + 2 * (width + inner) + down
