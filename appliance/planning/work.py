"""The work of training in closed form: operations, bytes that pass through memory, launches.

Letters as in `activations.py`. Counts are for a token unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.training import (
    Training,
    count_adapted_layers,
    count_linear,
    count_trainable,
    head_widths,
)
from appliance.values import BaseSpec, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Numbers that operations other than matrix products read and write, for a token and layer.

    Attributes:
        width: times D.
        inner: times I.
        queries: times Q.
        keys: times K.
    """

    width: float
    inner: float
    queries: float
    keys: float


FORWARD_TRAFFIC = Traffic(width=30, inner=15, queries=19, keys=20)
"""Of reading: norms, rotations, gates, residuals, sums of updates."""

TRAFFIC: dict[Method, Traffic] = {
    "qlora": Traffic(width=100, inner=55, queries=60, keys=60),
    "lora": Traffic(width=100, inner=55, queries=60, keys=60),
    "adapter": Traffic(width=90, inner=35, queries=50, keys=50),
    "full": Traffic(width=80, inner=35, queries=50, keys=50),
    "prompt": Traffic(width=80, inner=35, queries=50, keys=50),
}
"""Of learning, forward and backward; prompt: taken from full, which saves as much."""

FUSED_SHARE = 0.5
"""What is left of the traffic where layers are fused.

Source: fitted with `FRESH_SHARE` to six measured speeds (14 to 107 M; `scripts/bench planner --only
time`), one x86-64 core, 2026-11-24.
"""

OPERATIONS: dict[Method, int] = {
    "qlora": 330,
    "lora": 330,
    "adapter": 220,
    "full": 200,
    "prompt": 200,
}
"""Calls into the device for a layer, forward and backward, whatever the pack holds; prompt: taken
from full."""

FORWARD_OPERATIONS = 110
"""Calls for a layer, forward alone."""

FRESH_SHARE = 0.28
"""Part of the traffic that goes into memory just taken from the system, where freed memory is given
back: results of operations that are large enough to be blocks of their own.

Source: as `FUSED_SHARE`. Page faults gave 0.36 to 0.46 when fresh blocks were filled before they
were written.
"""

UPDATE_BYTES = 36
"""Bytes that AdamW and the clipping move for a weight that learns in fp32, once a step."""


def count_flops(spec: BaseSpec, training: Training) -> float:
    """FLOPs of training for a token.

    Frozen weights P cost 4 (forward, gradient of the input), their head 4, updates R 6, attention
    over half of an example 7 S Q a layer; recomputing adds a forward pass. Full training costs 6.

    Source: 2 FLOPs a weight and matrix product; the backward pass has one product for the input and
    one for the weight: Kaplan et al. 2020, arXiv:2001.08361, section 2.1.
    """
    linear, head = count_linear(spec), spec.vocab_size * spec.width
    attention = 7 * _find_length(training) * head_widths(spec)[0] * spec.num_layers
    layers = count_forward_flops(spec, training, with_head=False)
    again = layers if training.recompute else 0.0
    if training.method == "full":
        return 6 * (linear + head) + attention + again
    learned = 6 * count_trainable(spec, training)
    if training.method == "adapter":
        share = count_adapted_layers(spec) / spec.num_layers
        trunk = training.trunk_share * (1 - share) * layers
        upper = share * (layers + 2 * linear + attention * 5 / 7 + again)
        return trunk + upper + 4 * head + learned
    return 4 * linear + 4 * head + learned + attention + again


def count_attention(spec: BaseSpec, training: Training) -> float:
    """FLOPs of `count_flops` that are attention's own: they run slower than plain products."""
    forward = count_forward_attention(spec, training)
    learned = forward * 7 / 2 + (forward if training.recompute else 0.0)
    if training.method != "adapter":
        return learned
    share = count_adapted_layers(spec) / spec.num_layers
    trunk = training.trunk_share * (1 - share) * forward
    return trunk + share * learned


def count_forward_attention(spec: BaseSpec, training: Training) -> float:
    """FLOPs of attention while a token is read."""
    return 2 * _find_length(training) * head_widths(spec)[0] * spec.num_layers


def count_forward_flops(spec: BaseSpec, training: Training, *, with_head: bool = True) -> float:
    """FLOPs of reading a token, with the head or without."""
    head = spec.vocab_size * spec.width if with_head else 0
    return 2 * (count_linear(spec) + head) + count_forward_attention(spec, training)


def count_traffic(spec: BaseSpec, training: Training) -> float:
    """Bytes that everything but matrix products moves for a token of training."""
    layers = spec.num_layers
    numbers = sum_traffic(TRAFFIC[training.method], spec)
    forward = sum_traffic(FORWARD_TRAFFIC, spec)
    if training.method == "adapter":
        upper = count_adapted_layers(spec)
        below = training.trunk_share * (layers - upper)
        again = upper if training.recompute else 0
        total = upper * numbers + (below + again) * forward
    else:
        total = layers * (numbers + (forward if training.recompute else 0))
    return total * training.compute_bytes * (FUSED_SHARE if training.runs_fused else 1.0)


def count_fresh(spec: BaseSpec, training: Training) -> float:
    """Bytes of memory that come new from the system for a pack, a page at a time.

    None where freed memory is kept for the next step.
    """
    if not training.returns_memory:
        return 0.0
    moved = training.sequence_length * count_traffic(spec, training)
    return FRESH_SHARE * moved + training.compute_bytes * count_unpacked(spec, training)


def count_unpacked(spec: BaseSpec, training: Training) -> int:
    """Weights that are unpacked from NF4 for a pack, over all passes."""
    if not training.is_quantized:
        return 0
    linear, again = count_linear(spec), 1 if training.recompute else 0
    if training.method == "adapter":
        share = count_adapted_layers(spec) / spec.num_layers
        trunk = training.trunk_share * (1 - share)
        return round(linear * (trunk + share * (2 + again)))
    return linear * (2 + again)


def count_operations(spec: BaseSpec, training: Training) -> int:
    """Calls into the device for a pack."""
    layers = spec.num_layers
    upper = count_adapted_layers(spec) if training.method == "adapter" else layers
    calls = upper * OPERATIONS[training.method] + (layers - upper) * FORWARD_OPERATIONS
    return calls + (upper * FORWARD_OPERATIONS if training.recompute else 0)


def sum_traffic(traffic: Traffic, spec: BaseSpec) -> float:
    """Numbers that are moved for a token and layer of a base."""
    queries, keys = head_widths(spec)
    return (
        traffic.width * spec.width
        + traffic.inner * spec.intermediate_width
        + traffic.queries * queries
        + traffic.keys * keys
    )


def _find_length(training: Training) -> int:
    """Tokens over which attention reaches: an example, or the pack where that is not known."""
    return min(training.mean_example or training.sequence_length, training.sequence_length)
