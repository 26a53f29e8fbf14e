"""Peak memory of training, in closed form, term by term.

Letters: T tokens of a pack, D model width (`width`), I intermediate width, Q all query heads, K all
key heads, H query heads, V vocabulary, R rank, L layers.

Weights, gradients and the optimizer are exact. What a layer saves for its backward pass was counted
with torch's saved-tensor hooks and agrees to the float for Llama and Qwen3. The rest (libraries,
allocator) was measured. Figures for the GPU were derived and not yet measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from appliance.units import MIB
from appliance.values import BaseSpec, MemoryEstimate, Method

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in NF4 with double quantization: half a byte, an 8-bit scale for 64 weights, an
fp32 scale for 256 of those.

Source: Dettmers et al. 2023, arXiv:2305.14314, section 3 (0.127 bits for the constants); bitsandbytes
0.50 holds 1.4 % more than this on a CPU.
"""

ADAMW_BYTES = 8
"""Bytes of AdamW's two moments for a trainable weight in fp32."""

RUNTIME_BYTES = {"cpu": 420 * MIB, "cuda": 900 * MIB}
"""Memory of the program itself: interpreter and libraries; on a GPU its context and workspaces.

Source: cpu: resident set of a process after importing torch 2.13, transformers 5.23, peft 0.21 and
bitsandbytes 0.50, one small training step and the reading of a corpus (2 x86-64 cores, 2026-11-23).
cuda: 0.5 GiB context as reported for torch, plus cuBLAS workspaces; not measured here.
"""

ALLOCATOR_SHARE = {"cpu": 1.0, "cuda": 0.08}
"""Part of the activations and head workspace that the allocator holds on top of what is in use."""

CHUNK_BYTES = {"cpu": 32 * MIB, "cuda": 256 * MIB}
"""Bytes of fp32 logits that the loss holds at a time: CHUNK_BYTES in `tuning/loss.py`."""

ADAPTER_TOP_SHARE = 0.5
"""Part of the layers that get a bottleneck: TOP_SHARE in `tuning/methods/adapter.py`."""

QUANTIZED: frozenset[Method] = frozenset({"qlora", "adapter"})
"""Methods whose base lies in NF4."""

EXPORT_SHARE = 2.4
"""Peak memory of the ONNX builder at int4, as a multiple of the model in fp32.

Source: 673 M parameters, onnxruntime-genai 0.18, one AVX2 core, 2026-11-23.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a base is trained, as far as memory depends on it."""

    method: Method
    sequence_length: int
    rank: int = 16
    tunes_head: bool = False
    recompute: bool = False
    device: str = "cpu"
    compute_dtype: str = "float32"

    @property
    def kind(self) -> str:
        """The kind of the device: "cpu" or "cuda"."""
        return self.device.split(":")[0]

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in the compute type."""
        return 2 if self.compute_dtype == "bfloat16" else 4


def estimate_memory(spec: BaseSpec, training: Training) -> MemoryEstimate:
    """Peak bytes of training by term.

    The peak is reached either in the head or in the backward pass of the last layer, with all
    activations alive; `head_bytes` is what the head needs beyond a layer's backward pass.
    """
    num_trainable = count_trainable(spec, training)
    width = training.compute_bytes if training.method == "full" else 4
    workspace = _estimate_layer_workspace(spec, training)
    activations = estimate_activations(spec, training) + workspace
    head = max(0, _estimate_head(spec, training) - workspace)
    share = ALLOCATOR_SHARE[training.kind]
    return MemoryEstimate(
        runtime_bytes=RUNTIME_BYTES[training.kind],
        weights_bytes=0 if training.method == "full" else estimate_weights(spec, training),
        trainable_bytes=width * num_trainable,
        gradients_bytes=width * num_trainable,
        optimizer_bytes=ADAMW_BYTES * width // 4 * num_trainable,
        activations_bytes=round((1 + share) * activations),
        head_bytes=round((1 + share) * head),
    )


def estimate_weights(spec: BaseSpec, training: Training) -> int:
    """Bytes of the frozen base: decoder matrices in NF4 or plain, the rest in the compute type."""
    linear = count_linear(spec)
    rest = count_embedding(spec) + count_norms(spec)
    per_weight = NF4_BYTES if training.method in QUANTIZED else training.compute_bytes
    return math.ceil(linear * per_weight) + rest * training.compute_bytes


def count_linear(spec: BaseSpec) -> int:
    """Weights of the decoder's matrices, over all layers."""
    queries, keys = _widths(spec)
    attention = 2 * spec.width * queries + 2 * spec.width * keys
    return spec.num_layers * (attention + 3 * spec.width * spec.intermediate_width)


def count_embedding(spec: BaseSpec) -> int:
    """Weights of the embedding and, where it is a matrix of its own, of the head."""
    return spec.vocab_size * spec.width * (1 if spec.tied else 2)


def count_norms(spec: BaseSpec) -> int:
    """Weights of all norms."""
    per_head = 2 * spec.head_width if _has_query_norm(spec) else 0
    return spec.num_layers * (2 * spec.width + per_head) + spec.width


def count_trainable(spec: BaseSpec, training: Training) -> int:
    """Weights that learn."""
    if training.method == "full":
        return count_linear(spec) + count_embedding(spec) + count_norms(spec)
    if training.method == "adapter":
        return 3 * spec.width * training.rank * count_adapted_layers(spec)
    head = spec.width + spec.vocab_size if training.tunes_head else 0
    return training.rank * (spec.num_layers * _sum_linear_sides(spec) + head)


def count_adapted_layers(spec: BaseSpec) -> int:
    """Layers that get a bottleneck."""
    return max(1, round(ADAPTER_TOP_SHARE * spec.num_layers))


def estimate_activations(spec: BaseSpec, training: Training) -> int:
    """Bytes saved for the backward pass, over all layers, with the final norm and the tables.

    Source: counted with torch.autograd.graph.saved_tensors_hooks over packs of two segments, torch
    2.13, transformers 5.23, peft 0.21 (2026-11-23): Llama with LoRA saves 4D+3Q+2K+4I+H+2+7R
    floats for a token and layer, in full 6D+3Q+2K+4I+H+2, with a bottleneck
    3D+2Q+2K+3I+H+2+4R; Qwen3 adds Q+K and its heads.
    """
    tokens, layers = training.sequence_length, spec.num_layers
    if training.method == "adapter":
        layers = count_adapted_layers(spec)
    of_layer = _estimate_layer(spec, training)
    if training.recompute:
        saved = spec.num_layers * spec.width * training.compute_bytes + of_layer
    else:
        saved = layers * of_layer
    final = (2 if training.method == "full" else 1) * 4 * (spec.width + 1)
    tables = 2 * training.compute_bytes * spec.head_width + 2 * 8  # cosines, sines; ids, labels
    return tokens * (saved + final + tables)


def estimate_export(spec: BaseSpec) -> int:
    """Peak bytes of RAM while the merged model is exported, the program included."""
    return RUNTIME_BYTES["cpu"] + round(EXPORT_SHARE * estimate_fp32(spec))


def estimate_fp32(spec: BaseSpec) -> int:
    """Bytes of the whole model in fp32."""
    return 4 * (count_linear(spec) + count_embedding(spec) + count_norms(spec))


def _estimate_layer(spec: BaseSpec, training: Training) -> int:
    """Bytes that one layer saves for a token: norms and updates in fp32, the rest as computed."""
    queries, keys = _widths(spec)
    width, inner, heads = spec.width, spec.intermediate_width, spec.num_heads
    wide = 2 * width + 2 + heads
    narrow = 2 * queries + 2 * keys + 3 * inner
    if training.method == "adapter":
        wide += width + 4 * training.rank
    elif training.method == "full":
        wide += 2 * width
        narrow += 2 * width + queries + inner
    else:
        wide += 2 * width + queries + inner + _count_linear_layers(spec) * training.rank
    if _has_query_norm(spec):
        wide += queries + keys + heads + spec.num_kv_heads
        wide += queries + keys if training.method == "full" else 0
    return 4 * wide + training.compute_bytes * narrow


def _estimate_layer_workspace(spec: BaseSpec, training: Training) -> int:
    """Bytes alive only inside one layer's backward pass: gradients of the MLP, a plain matrix."""
    size = training.compute_bytes
    passing = training.sequence_length * size * (3 * spec.intermediate_width + spec.width)
    matrix = size * spec.width * spec.intermediate_width
    if training.method in QUANTIZED:
        return passing + matrix  # the NF4 matrix is unpacked before it is multiplied
    return passing + (2 * matrix if training.method == "full" else 0)


def _estimate_head(spec: BaseSpec, training: Training) -> int:
    """Bytes of the loss: labelled rows, their gradient twice, chunks of logits, the head's update."""
    tokens, vocab = training.sequence_length, spec.vocab_size
    rows = max(16, CHUNK_BYTES[training.kind] // (4 * vocab))
    chunk = 4 * vocab * min(tokens, rows)
    chunks = chunk * (2 if tokens > rows else 1)  # the next begins before the last is gone
    if training.compute_dtype == "bfloat16":
        chunks += chunk  # scores and their gradient in 16 bit
    hidden = 3 * tokens * spec.width * training.compute_bytes
    copies = 3 if training.tunes_head else 2 if training.method == "full" else 0
    return hidden + chunks + copies * 4 * vocab * spec.width


def _sum_linear_sides(spec: BaseSpec) -> int:
    """Inputs plus outputs of every linear layer of a decoder layer: weights of the update by rank."""
    queries, keys = _widths(spec)
    width, inner = spec.width, spec.intermediate_width
    out = queries + width  # the output projection
    down = inner + width
    if _is_fused(spec):
        return (width + queries + 2 * keys) + out + (width + 2 * inner) + down
    return (width + queries) + 2 * (width + keys) + out + 2 * (width + inner) + down


def _count_linear_layers(spec: BaseSpec) -> int:
    return 4 if _is_fused(spec) else 7


def _widths(spec: BaseSpec) -> tuple[int, int]:
    return spec.num_heads * spec.head_width, spec.num_kv_heads * spec.head_width


def _has_query_norm(spec: BaseSpec) -> bool:
    return spec.model_type.startswith("qwen3")


def _is_fused(spec: BaseSpec) -> bool:
    return spec.model_type.startswith("phi3")
