"""Planned memory of published shapes beside a tracker under fake tensors, in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from planner_shapes import make_spec

from appliance.planning.training import Training

POINTS = (
    # base, method, tokens of a pack, recomputation, rank
    ("Qwen3-0.6B", "qlora", 1024, False, 16),
    ("Qwen3-0.6B", "lora", 2048, True, 64),
    ("Qwen3-0.6B", "full", 1024, False, 16),
    ("Qwen3-4B", "qlora", 4096, True, 16),
    ("Qwen3-4B", "lora", 1024, False, 16),
    ("Qwen3-4B", "adapter", 2048, False, 64),
    ("Qwen3-8B", "qlora", 2048, True, 16),
    ("Qwen3-8B", "qlora", 1024, False, 64),
    ("Qwen3-8B", "full", 2048, True, 16),
    ("Qwen3-14B", "qlora", 2048, True, 16),
    ("Qwen3-14B", "adapter", 1024, True, 64),
    ("Qwen3-14B", "lora", 512, True, 16),
    ("Llama-3.1-8B", "qlora", 4096, True, 8),
    ("Llama-3.1-8B", "qlora", 512, False, 16),
    ("Llama-3.1-8B", "lora", 2048, True, 16),
    ("Llama-3.1-8B", "adapter", 4096, False, 64),
)
"""Every base with every family of methods, short and long packs."""

Row = dict[str, Any]


def track_shapes(on_row: Callable[[Row], None], points: Iterable[Any] = POINTS) -> list[Row]:
    """Follow a training step of every point; a row each.

    Args:
        on_row: gets a row when it is there.
        points: what to follow.
    """
    from planner_tracker import plan_peak, track_peak

    rows = []
    for base, method, tokens, recompute, rank in points:
        training = Training(
            method=method,
            sequence_length=tokens,
            rank=rank,
            recompute=recompute,
            compute_dtype="bfloat16",
        )
        spec = make_spec(base)
        planned, tracked = plan_peak(spec, training), track_peak(spec, training)
        row = {
            "base": base,
            "method": method,
            "tokens": tokens,
            "recompute": recompute,
            "rank": rank,
            "planned_bytes": planned,
            "tracked_bytes": tracked,
            "error": planned / tracked - 1,
        }
        on_row(row)
        rows.append(row)
    return rows
