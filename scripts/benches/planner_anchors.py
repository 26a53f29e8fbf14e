"""Published peaks of other programs beside this planner and beside the formulas of its peers.

What others publish was measured with their program, on their card: a difference is explained, not
fitted. Sources are named in each row; GB there is taken as GiB where a tool prints GiB as GB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from planner_shapes import make_spec

from appliance.planning.memory import estimate_memory
from appliance.planning.training import Training, count_embedding, count_linear
from appliance.units import GIB
from appliance.values import BaseSpec, Method

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A published peak.

    Attributes:
        examples: rows of the micro-batch, each of `length` tokens; here they are one pack.
        gibibytes: published.
        why: what explains the difference to this planner.
    """

    source: str
    base: str
    method: Method
    examples: int
    length: int
    gibibytes: float
    why: str
    rank: int = 8
    recompute: bool = True


CHUNKS = "two chunks of logits here take 0.75 GiB, and updates cast their inputs to fp32"
OFFLOAD = "it moves the kept inputs of layers to RAM; here they stay on the card"
STOCK = "all logits in fp32 with their copies, 17 to 20 bytes a token and vocabulary entry"
KERNELS = "its kernels write over gate, up and norms in place; here autograd keeps them"

ANCHORS = (
    Anchor(
        source="torchtune README, RTX 4090",
        base="Llama-3.1-8B",
        method="qlora",
        examples=2,
        length=2048,
        gibibytes=7.4,
        why=f"without its context; compiled; {CHUNKS}",
    ),
    Anchor(
        source="torchtune README, RTX 4090",
        base="Llama-3.1-8B",
        method="lora",
        examples=2,
        length=2048,
        gibibytes=16.2,
        why="the same",
    ),
    Anchor(
        source="torchtune README, A100",
        base="Llama-3.2-3B",
        method="qlora",
        examples=2,
        length=4096,
        gibibytes=4.6,
        why=f"{OFFLOAD}; compiled",
    ),
    Anchor(
        source="torchtune README, A100",
        base="Llama-3.2-3B",
        method="lora",
        examples=2,
        length=4096,
        gibibytes=8.5,
        why=f"{OFFLOAD}; compiled",
    ),
    Anchor(
        source="LLaMA-Factory wiki, Unsloth, A100",
        base="Llama-2-7B",
        method="qlora",
        examples=1,
        length=1024,
        gibibytes=5,
        why=f"whole GB; {KERNELS}",
    ),
    Anchor(
        source="LLaMA-Factory wiki, Unsloth, A100",
        base="Llama-2-7B",
        method="qlora",
        examples=1,
        length=4096,
        gibibytes=7,
        why=f"whole GB; {KERNELS}",
    ),
    Anchor(
        source="LLaMA-Factory wiki, FlashAttention 2, A100",
        base="Llama-2-7B",
        method="qlora",
        examples=1,
        length=4096,
        gibibytes=9,
        why=f"whole GB; {STOCK}",
    ),
    Anchor(
        source="LLaMA-Factory wiki, FlashAttention 2, A100",
        base="Llama-2-7B",
        method="qlora",
        examples=1,
        length=16_384,
        gibibytes=19,
        why=f"whole GB; {STOCK}",
    ),
    Anchor(
        source="Unsloth, line through its table of contexts",
        base="Llama-3.1-8B",
        method="qlora",
        examples=1,
        length=21_848,
        rank=32,
        gibibytes=12,
        why=f"{OFFLOAD}; {KERNELS}",
    ),
    Anchor(
        source="canifinetune, stock HF + PEFT, RTX 4080",
        base="Qwen2.5-1.5B",
        method="qlora",
        examples=1,
        length=1024,
        rank=16,
        gibibytes=4.36,
        why=STOCK,
    ),
    Anchor(
        source="canifinetune, stock HF + PEFT, RTX 4080",
        base="Qwen2.5-1.5B",
        method="qlora",
        examples=1,
        length=4096,
        rank=16,
        gibibytes=13.56,
        why=STOCK,
    ),
    Anchor(
        source="canifinetune, stock HF + PEFT, RTX 4080",
        base="Qwen2.5-7B",
        method="qlora",
        examples=1,
        length=1024,
        rank=16,
        gibibytes=11.23,
        why=f"{STOCK}; the embedding in fp32",
    ),
    Anchor(
        source="litgpt config hub, A10G",
        base="Llama-3.1-8B",
        method="qlora",
        examples=2,
        length=512,
        rank=32,
        gibibytes=17.4,
        recompute=False,
        why="weights are quantized on the card, 16 bit before; all logits",
    ),
    Anchor(
        source="PEFT method comparison, L40S",
        base="Llama-3.2-3B",
        method="lora",
        examples=4,
        length=768,
        rank=32,
        gibibytes=20.8,
        recompute=False,
        why="updates of queries and values only need less; all logits and padding need more",
    ),
)


def compare_anchors(on_row: Callable[[Row], None]) -> list[Row]:
    """A row for every anchor, with what each formula says."""
    rows = []
    for anchor in ANCHORS:
        spec = make_spec(anchor.base)
        training = Training(
            method=anchor.method,
            sequence_length=anchor.examples * anchor.length,
            rank=anchor.rank,
            recompute=anchor.recompute,
            device="cuda:0",
            compute_dtype="bfloat16",
            mean_example=anchor.length,
        )
        estimate = estimate_memory(spec, training)
        row = {
            "source": anchor.source,
            "base": anchor.base,
            "method": anchor.method,
            "tokens": training.sequence_length,
            "published_gib": anchor.gibibytes,
            "planned_gib": estimate.total_bytes / GIB,
            "planned_in_use_gib": (
                estimate.total_bytes - estimate.runtime_bytes - estimate.allocator_bytes
            )
            / GIB,
            "llama_factory_gib": estimate_by_llama_factory(spec, anchor.method) / GIB,
            "unsloth_studio_gib": estimate_by_unsloth_studio(spec, training) / GIB,
            "why": anchor.why,
        }
        on_row(row)
        rows.append(row)
    return rows


def estimate_by_llama_factory(spec: BaseSpec, method: Method) -> float:
    """Bytes by the table of LLaMA-Factory's README: parameters times a factor, no tokens.

    Source: hiyouga/LLaMA-Factory, README, hardware requirement: x/2 GB at 4 bit, 2x for LoRA in 16
    bit, 8x for full tuning in 16 bit, x being billions of parameters.
    """
    return {"qlora": 0.5, "adapter": 0.5, "lora": 2.0, "full": 8.0}[method] * spec.num_parameters


def estimate_by_unsloth_studio(spec: BaseSpec, training: Training) -> float:
    """Bytes by the estimate of Unsloth Studio, as its document describes it.

    Source: unslothai/unsloth, studio, VRAM_ESTIMATION.md: matrices at 2/3.6 bytes (4 bit, double
    quantization) or 2, the rest in 16 bit, 2.5 (h + 2 kv + 2 I) bytes a token for one layer, 1.4
    GB for everything else.
    """
    keys = spec.num_kv_heads * spec.head_width
    linear = count_linear(spec) * (2 / 3.6 if training.is_quantized else 2)
    moved = 2.5 * (spec.width + 2 * keys + 2 * spec.intermediate_width)
    return linear + 2 * count_embedding(spec) + training.sequence_length * moved + 1.4e9
