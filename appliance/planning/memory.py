"""Peak memory of training, in closed form, term by term.

Letters: T tokens of a pack, D model width (`width`), I intermediate width, Q all query heads, K all
key heads, H query heads, V vocabulary, R rank, L layers.

Weights, gradients and the optimizer are exact. What a layer saves for its backward pass was counted
with torch's saved-tensor hooks and agrees to the float for Llama and Qwen3. The rest (libraries,
allocator) was measured. Figures for the GPU were derived and not yet measured.
"""

from __future__ import annotations

import math

from appliance.planning.training import (
    QUANTIZED,
    Training,
    count_adapted_layers,
    count_embedding,
    count_linear,
    count_linear_layers,
    count_norms,
    count_trainable,
    has_query_norm,
    head_widths,
)
from appliance.units import MIB
from appliance.values import BaseSpec, MemoryEstimate, Method

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in NF4 with double quantization: half a byte, an 8-bit scale for 64 weights, an
fp32 scale for 256 of those.

Source: Dettmers et al. 2023, arXiv:2305.14314, section 3 (0.127 bits for the constants);
bitsandbytes 0.50 holds 1.4 % more than this on a CPU.
"""

ADAMW_BYTES = 8
"""Bytes of AdamW's two moments for a trainable weight in fp32."""

RUNTIME_BYTES = {"cpu": 444 * MIB, "cuda": 900 * MIB}
"""Memory of the program itself: interpreter and libraries; on a GPU its context and workspaces.

Source: cpu: 415 MiB resident in a job's process with all stages imported (torch 2.13, transformers
5.23, peft 0.21, bitsandbytes 0.50, ONNX) and a corpus read, and 29 MiB more once training has begun
(x86-64, 2026-11-23).
cuda: 0.5 GiB context as reported for torch, plus cuBLAS workspaces; not measured here.
"""

KEPT_SHARE: dict[Method, float] = {
    "qlora": 2.4,
    "lora": 1.2,
    "adapter": 1.0,
    "full": 0.4,
    "prompt": 2.4,
}
"""What the C library's allocator holds on top of the activations when it keeps freed memory: it
cannot reuse a freed block for one of the same aligned size, so the heap grows to a multiple of
what is in use. With freed memory given back (`returns_memory`) there is nothing on top.

Source: peak resident set over 3 to 12 steps, glibc 2.36, thresholds of 256 MiB: embedded base,
packs of 512 and 1024 (552 to 786 MiB), and 88 M parameters (3,026 MiB; 1,320 MiB given back, at 8 %
fewer tokens a CPU-second); one x86-64 core, 2026-11-23. Plans with these shares are within 5 %.
"""

KEPT_HEAD_SHARE = 0.5
"""The same for the head's workspace, which comes and goes in large blocks."""

CUDA_SHARE = 0.08
"""What torch's allocator reserves on a GPU on top of what is in use; not measured here."""

CHUNK_BYTES = {"cpu": 32 * MIB, "cuda": 256 * MIB}
"""Bytes of fp32 logits that the loss holds at a time: CHUNK_BYTES in `tuning/loss.py`."""

EXPORT_SHARE = 2.4
"""Peak memory of the ONNX builder at int4, as a multiple of the model in fp32.

Source: 673 M parameters, onnxruntime-genai 0.18, one AVX2 core, 2026-11-23.
"""


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
    kept, kept_head = _find_allocator_shares(training)
    return MemoryEstimate(
        runtime_bytes=RUNTIME_BYTES[training.kind],
        weights_bytes=0 if training.method == "full" else estimate_weights(spec, training),
        trainable_bytes=width * num_trainable,
        gradients_bytes=width * num_trainable,
        optimizer_bytes=ADAMW_BYTES * width // 4 * num_trainable,
        activations_bytes=round((1 + kept) * activations),
        head_bytes=round((1 + kept_head) * head),
    )


def estimate_weights(spec: BaseSpec, training: Training) -> int:
    """Bytes of the frozen base: decoder matrices in NF4 or plain, the rest in the compute type."""
    linear = count_linear(spec)
    rest = count_embedding(spec) + count_norms(spec)
    per_weight = NF4_BYTES if training.method in QUANTIZED else training.compute_bytes
    return math.ceil(linear * per_weight) + rest * training.compute_bytes


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
    queries, keys = head_widths(spec)
    width, inner, heads = spec.width, spec.intermediate_width, spec.num_heads
    wide = 2 * width + 2 + heads
    narrow = 2 * queries + 2 * keys + 3 * inner
    if training.method == "adapter":
        wide += width + 4 * training.rank
    elif training.method == "full":
        wide += 2 * width
        narrow += 2 * width + queries + inner
    else:
        wide += 2 * width + queries + inner + count_linear_layers(spec) * training.rank
    if has_query_norm(spec):
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
    """Bytes of the loss: labelled rows, their gradients, chunks of logits, copies of the head."""
    tokens, vocab = training.sequence_length, spec.vocab_size
    rows = max(16, CHUNK_BYTES[training.kind] // (4 * vocab))
    chunk = 4 * vocab * min(tokens, rows)
    chunks = chunk * (2 if tokens > rows else 1)  # the next begins before the last is gone
    if training.compute_dtype == "bfloat16":
        chunks += chunk  # scores and their gradient in 16 bit
    hidden = 3 * tokens * spec.width * training.compute_bytes
    copies = 3 if training.tunes_head else 2 if training.method == "full" else 0
    return hidden + chunks + copies * 4 * vocab * spec.width


def _find_allocator_shares(training: Training) -> tuple[float, float]:
    """What the allocator holds on top of the activations, and of the head."""
    if training.kind == "cuda":
        return CUDA_SHARE, CUDA_SHARE
    if training.returns_memory:
        return 0.0, 0.0
    return KEPT_SHARE[training.method], KEPT_HEAD_SHARE
