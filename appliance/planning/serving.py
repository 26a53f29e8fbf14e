"""Memory and speed of answering: the exported model at int4, run by ONNX Runtime in RAM.

An answer reads every weight once for every token: its speed is that of memory.
"""

from __future__ import annotations

from appliance.planning.device_speed import CPU_STREAM_BYTES
from appliance.planning.training import count_linear, head_widths
from appliance.units import MIB
from appliance.values import BaseSpec, Hardware, MeasuredRates

INT4_BYTES = 0.625
"""Bytes of a weight of a layer in int4, blocks of 32 with an fp32 scale."""

INT8_BYTES = 1.125
"""Bytes of a weight of the head in int8, blocks of 32 with an fp32 scale."""

EMBEDDING_BYTES = 4
"""Bytes of a weight of the embedding, which is only looked up."""

SERVE_RUNTIME_BYTES = 150 * MIB
"""Memory of the serving program itself: interpreter and ONNX Runtime."""

SERVE_CONTEXT = 4096
"""Tokens whose keys and values are held for one person."""

STREAM_SHARE = 0.6
"""Part of the memory's speed that answering reaches.

Source: 50 to 78 % on processors and cards in public measurements of 4-bit decoding.
"""

CALL_SECONDS = 5e-4
"""Time of a token that does not depend on the model: the loop, sampling, the tokenizer."""


def estimate_serving(spec: BaseSpec) -> int:
    """Bytes of RAM while one person is answered, the program included."""
    context = min(SERVE_CONTEXT, spec.context)
    cache = 2 * spec.num_layers * head_widths(spec)[1] * context * 4
    head = spec.vocab_size * spec.width
    embedding = EMBEDDING_BYTES * head
    return SERVE_RUNTIME_BYTES + round(_count_read_bytes(spec)) + embedding + cache


def estimate_answering(spec: BaseSpec, hardware: Hardware, rates: MeasuredRates | None) -> float:
    """Tokens a second of one answer."""
    stream = rates.memory_bytes_per_second if rates else CPU_STREAM_BYTES * hardware.cpu.num_cores
    seconds = _count_read_bytes(spec) / (STREAM_SHARE * stream) + CALL_SECONDS
    return 1 / seconds


def _count_read_bytes(spec: BaseSpec) -> float:
    """Bytes of weights that a token reads."""
    return INT4_BYTES * count_linear(spec) + INT8_BYTES * spec.vocab_size * spec.width
