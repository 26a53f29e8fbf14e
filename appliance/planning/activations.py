"""What training holds beyond weights: saved for the backward pass, and passing through it.

Letters: T tokens of a pack, D model width, I intermediate width, Q all query heads, K all key
heads, H query heads, G key heads, R rank, V vocabulary, L layers.

Every coefficient was read off a tracker that follows each storage of the real loop, fitted over
random widths; nothing remained. `tests/planning/test_tracked.py` repeats it on small shapes, and
`scripts/bench planner` on those of real bases.

Source: storages followed with a TorchDispatchMode, torch 2.13, transformers 5.23, peft 0.21,
bitsandbytes 0.50 (2026-11-23).
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.passing import FINAL_NORM, PASSING, Family
from appliance.planning.training import (
    Training,
    count_adapted_layers,
    count_layer_norms,
    count_linear,
    count_linear_layers,
    has_query_norm,
    head_widths,
    is_fused,
)
from appliance.units import MIB
from appliance.values import BaseSpec

CHUNK_BYTES = {"cpu": 32 * MIB, "cuda": 256 * MIB}
"""Bytes of fp32 logits that the loss holds at a time: CHUNK_BYTES in `tuning/loss.py`."""

MIN_CHUNK_ROWS = 16
"""Rows of a chunk at least, however large the vocabulary: as in `tuning/loss.py`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a step that may be its peak.

    Attributes:
        name: "loss", "backward" (of the top layer) or "end" (of the backward pass).
        saved_bytes: for the backward pass.
        passing_bytes: alive only around this moment.
        missing: weights that learn and whose gradient is not there; None for all of them.
    """

    name: str
    saved_bytes: int
    passing_bytes: int
    missing: int | None = 0


def list_moments(spec: BaseSpec, training: Training) -> tuple[Moment, ...]:
    """Moments of a step, one of which is its peak.

    With one pack a step, gradients appear as the backward pass goes down: the peak is at the top,
    without them, or at the bottom, with all of them and the activations of one layer.
    """
    tokens, is_full = training.sequence_length, training.method == "full"
    top = tokens * count_saved(spec, training)
    one = tokens * (_count_final(spec, training) + _count_tables(spec, training))
    one += tokens * (0 if training.recompute else _count_layer(spec, training))
    layer = _count_passing(spec, training)
    norm = tokens * FINAL_NORM[find_family(training)][training.compute_bytes == 2] * spec.width
    head = count_head_bytes(spec, training)
    pending = head if is_full and spec.tied else 0
    has_all = training.packs_per_step > 1
    early = 0 if has_all else None
    below = 0 if has_all or not is_full else spec.vocab_size * spec.width
    layer_left = count_linear(spec) // spec.num_layers - count_widest(spec) if below else 0
    return (
        Moment("loss", top, count_loss(spec, training), early),
        Moment("loss", top, _count_loss_gradient(spec, training), early),
        Moment("backward", top, max(norm, layer) + pending, early),
        Moment("end", min(one, top), layer + pending, below + layer_left),
        Moment("end", 0, head * (2 if spec.tied else 1) if is_full else 0, below),
    )


def find_family(training: Training) -> Family:
    """Which weights learn decides what has to be saved."""
    if training.method in ("full", "prompt"):
        return "full" if training.method == "full" else "frozen"
    return "bottleneck" if training.method == "adapter" else "low-rank"


def count_saved(spec: BaseSpec, training: Training) -> int:
    """Bytes saved for the backward pass for a token, over all layers.

    What comes before the first weight that learns is not saved. With recomputation only the input
    of every layer is kept.
    """
    ends = _count_final(spec, training) + _count_tables(spec, training)
    if training.recompute:
        return spec.num_layers * spec.width * training.compute_bytes + ends
    layers = count_adapted_layers(spec) if training.method == "adapter" else spec.num_layers
    first = _count_first(spec, training)
    return (layers - 1) * _count_layer(spec, training) + first + ends


def count_loss(spec: BaseSpec, training: Training) -> int:
    """Bytes alive in the loss: hidden states, their gradients, chunks of logits, the head.

    In fp32 the logits of a chunk become their own gradient in place; in bfloat16 there is a copy of
    both in 16 bit. A chunk is still there while the scores of the next are computed.
    """
    tokens, width, size = training.sequence_length, spec.width, training.compute_bytes
    rows = max(MIN_CHUNK_ROWS, CHUNK_BYTES[training.kind] // (4 * spec.vocab_size))
    row = spec.vocab_size * (4 if size == 4 else 6)
    chunks = row * (min(tokens, rows) + min(rows, max(0, tokens - rows)))
    copies = 2 if training.tunes_head else 1 if learns_head(training) else 0
    return 3 * tokens * width * size + chunks + copies * count_head_bytes(spec, training)


def learns_head(training: Training) -> bool:
    """Whether the head's own matrix learns, and not an update of it."""
    return training.method == "full" or training.tunes_embeddings


def is_gate_fused(spec: BaseSpec, training: Training) -> bool:
    """Whether the gate of the MLP keeps its two inputs alone (`tuning/fused.py`)."""
    is_silu = not spec.model_type.startswith("gemma")
    return training.runs_fused and is_silu and not is_fused(spec)


def count_head_bytes(spec: BaseSpec, training: Training) -> int:
    """Bytes of the head's matrix in the compute type."""
    return training.compute_bytes * spec.vocab_size * spec.width


def count_widest(spec: BaseSpec) -> int:
    """Weights of the widest matrix of a layer."""
    return spec.width * spec.intermediate_width * (2 if is_fused(spec) else 1)


def _count_loss_gradient(spec: BaseSpec, training: Training) -> int:
    """Bytes alive when the gradient of the loss is scaled: of the hidden states, of the head."""
    hidden = 2 * training.sequence_length * spec.width * training.compute_bytes
    if training.tunes_head:
        return hidden + 8 * spec.vocab_size * spec.width
    return hidden + (2 * count_head_bytes(spec, training) if learns_head(training) else 0)


def _count_layer(spec: BaseSpec, training: Training) -> int:
    """Bytes that one layer saves for a token: norms and updates in fp32, the rest as computed.

    In bfloat16 every low-rank update casts its own copy of its input to fp32.
    """
    queries, keys = head_widths(spec)
    width, inner, heads = spec.width, spec.intermediate_width, spec.num_heads
    wide = count_layer_norms(spec) * (width + 1) + heads
    narrow = 2 * queries + 2 * keys + (2 if is_gate_fused(spec, training) else 3) * inner
    narrow += queries + keys if is_fused(spec) else 0  # the values are a view of all three
    family = find_family(training)
    if family == "bottleneck":
        wide += width + 4 * training.rank
    elif family == "full":
        narrow += 4 * width + queries + inner
    elif family == "low-rank":
        shared = training.compute_bytes == 4 or is_fused(spec)
        wide += (2 if shared else 5) * width + queries + inner
        wide += count_linear_layers(spec) * training.rank
    if has_query_norm(spec):
        wide += queries + keys + heads + spec.num_kv_heads
        narrow += queries + keys if family == "full" else 0
    return 4 * wide + training.compute_bytes * narrow


def _count_first(spec: BaseSpec, training: Training) -> int:
    """Bytes that the lowest layer with weights that learn saves for a token."""
    family = find_family(training)
    if family in ("full", "frozen"):
        return _count_layer(spec, training)
    if family == "bottleneck":
        return 4 * spec.width + 16 * training.rank
    return _count_layer(spec, training) - 4 * (spec.width + 1)


def _count_final(spec: BaseSpec, training: Training) -> int:
    """Bytes that the final norm saves for a token."""
    normed = spec.width * training.compute_bytes if training.method == "full" else 0
    return 4 * (spec.width + 1) + normed


def _count_tables(spec: BaseSpec, training: Training) -> int:
    """Bytes for a token of cosines, sines, token ids and labels."""
    return 2 * training.compute_bytes * spec.head_width + 2 * 8


def _count_passing(spec: BaseSpec, training: Training) -> int:
    """Bytes alive only in the backward pass of the top layer, recomputed or not."""
    tokens, size = training.sequence_length, training.compute_bytes
    key = (find_family(training), size, training.recompute)
    again = _count_layer(spec, training) if training.recompute else 0
    matrix = size * count_widest(spec)
    matrix += count_widest(spec) // 16 if training.is_quantized else 0  # scales in fp32
    return max(
        tokens
        * (
            again
            + row.width * spec.width
            + row.inner * spec.intermediate_width
            + row.rank * training.rank
        )
        + (matrix if row.has_matrix else 0)
        for row in PASSING[key]
        if not row.has_matrix or training.is_quantized or training.method == "full"
    )
