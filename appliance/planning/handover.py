"""What comes after training: memory and disk of merging, exporting and comparing, in closed form.

These stages run in RAM, whatever trained, and hold the model in fp32 several times over.
"""

from __future__ import annotations

from appliance.planning.memory import RUNTIME_BYTES
from appliance.planning.training import (
    Training,
    count_embedding,
    count_linear,
    count_norms,
    count_trainable,
)
from appliance.units import format_bytes
from appliance.values import BaseSpec

EXPORT_SHARE = 2.4
"""Peak memory of the ONNX builder at int4, as a multiple of the model in fp32.

Source: 673 M parameters, onnxruntime-genai 0.18, one AVX2 core, 2026-11-23.
"""

DISK_SHARE = 3.5
"""Disk of a run as a multiple of the base in fp32: the merged model, the fp32 graph, what is
shipped, and its copy in the bundle."""

CHECKPOINT_BYTES = 4 * (3 + 3 + 3)
"""Bytes on disk of a trainable weight: weight and moments in the latest checkpoint, in the best
one, and in a new one beside the old."""


def estimate_export(spec: BaseSpec) -> int:
    """Peak bytes of RAM while the merged model is exported, the program included."""
    return RUNTIME_BYTES["cpu"] + round(EXPORT_SHARE * estimate_fp32(spec))


def describe_export(spec: BaseSpec) -> str:
    """How that comes about, in words."""
    return (
        f"{EXPORT_SHARE} times its fp32 size and the program's {format_bytes(RUNTIME_BYTES['cpu'])}"
    )


def estimate_fp32(spec: BaseSpec) -> int:
    """Bytes of the whole model in fp32."""
    return 4 * (count_linear(spec) + count_embedding(spec) + count_norms(spec))


def estimate_disk(spec: BaseSpec, training: Training) -> int:
    """Bytes on disk that a run needs."""
    checkpoints = CHECKPOINT_BYTES * count_trainable(spec, training)
    return round(DISK_SHARE * estimate_fp32(spec)) + checkpoints
