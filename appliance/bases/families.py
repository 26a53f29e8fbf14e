"""Model families: which tensors each must have, and whether the exporter handles it rightly.

Both are needed because the exporter is silent about either: a missing tensor becomes random
numbers, and several configurations build without an error and compute something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a decoder, as config.json has them."""

    num_layers: int
    width: int
    intermediate_width: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    vocab_size: int
    context: int
    tied: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What tells one architecture from a plain Llama, and what the exporter proved right for it.

    Attributes:
        ropes: kinds of rotary embedding that are exported rightly.
        activations: of the gated MLP.
        has_qkv_bias: queries, keys and values always have a bias (the output has none).
        has_query_norm: queries and keys are normed in each head.
        is_fused: queries, keys and values are one matrix; gate and up too.
        default_window: sliding window when config.json does not say.
    """

    ropes: frozenset[str] = frozenset({"default"})
    activations: frozenset[str] = frozenset({"silu"})
    has_qkv_bias: bool = False
    has_query_norm: bool = False
    is_fused: bool = False
    default_window: int | None = None


FAMILIES = {
    "LlamaForCausalLM": Family(
        ropes=frozenset({"default", "llama3"}), activations=frozenset({"silu", "gelu"})
    ),
    "Qwen2ForCausalLM": Family(has_qkv_bias=True),
    "Qwen3ForCausalLM": Family(has_query_norm=True),
    "MistralForCausalLM": Family(default_window=4096),
    "Phi3ForCausalLM": Family(is_fused=True),
}
"""Families whose ONNX graph gave the logits of the original.

Source: measured 2026-11-23, 4 layers of width 192 with random weights, fp32, 320 positions: largest
difference 1.4e-5, equal greedy text; onnxruntime-genai 0.18.0, onnxruntime 1.32.0, one AVX2 core.
"""


def find_why_not_exportable(architecture: str, config: dict[str, Any]) -> str:
    """Why the exporter would not give the same model; "" when it does.

    Args:
        architecture: class name from config.json.
        config: all of config.json.
    """
    family = FAMILIES.get(architecture)
    if family is None:
        return f"{architecture} was not proven right in the exporter"
    rope = read_rope(config)
    if rope not in family.ropes:
        return f"the exporter computes rope type '{rope}' of {architecture} wrongly or not at all"
    if read_rotary_share(config) != 1.0:
        return "rotary embedding of a part of the head was not proven right in the exporter"
    window = read_window(family, config)
    if window:
        return f"the exporter loses the sliding window of {window} positions"
    activation = config.get("hidden_act", "silu")
    if activation not in family.activations:
        return f"activation '{activation}' of {architecture} was not proven right in the exporter"
    return ""


def read_rope(config: dict[str, Any]) -> str:
    """Kind of the rotary embedding, in the spelling of transformers 5 or 4."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        return "unknown"
    kind = rope.get("rope_type", rope.get("type", "default"))
    return kind if isinstance(kind, str) else "unknown"


def read_rotary_share(config: dict[str, Any]) -> float:
    """Part of each head that is rotated, in the spelling of transformers 5 or 4."""
    rope = config.get("rope_parameters")
    inside = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    return float(config.get("partial_rotary_factor") or inside or 1.0)


def read_window(family: Family, config: dict[str, Any]) -> int:
    """Positions of the sliding window; 0 for full attention."""
    if "use_sliding_window" in config and not config["use_sliding_window"]:
        return 0
    if family.has_qkv_bias or family.has_query_norm:  # qwen: off unless it is switched on
        return int(config.get("sliding_window") or 0) if config.get("use_sliding_window") else 0
    window = config.get("sliding_window", family.default_window)
    return int(window or 0)


def list_tensors(
    family: Family, shape: Shape, config: dict[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor a checkpoint of this family must have.

    Source: parameter names of transformers 5 (`models/{llama,qwen2,qwen3,mistral,phi3}`).
    """
    width, vocab = shape.width, shape.vocab_size
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
    layer = _list_layer(family, shape, config)
    for number in range(shape.num_layers):
        tensors |= {f"model.layers.{number}.{name}": size for name, size in layer.items()}
    tensors["model.norm.weight"] = (width,)
    if not shape.tied:
        tensors["lm_head.weight"] = (vocab, width)
    return tensors


def _list_layer(family: Family, shape: Shape, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = shape.width, shape.intermediate_width
    queries, keys = shape.num_heads * shape.head_width, shape.num_kv_heads * shape.head_width
    if family.is_fused:
        attention = {"qkv_proj": (queries + 2 * keys, width), "o_proj": (width, queries)}
        mlp = {"gate_up_proj": (2 * inner, width), "down_proj": (width, inner)}
    else:
        attention = {
            "q_proj": (queries, width),
            "k_proj": (keys, width),
            "v_proj": (keys, width),
            "o_proj": (width, queries),
        }
        mlp = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
    tensors: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    tensors |= {f"self_attn.{name}.weight": size for name, size in attention.items()}
    tensors |= {f"mlp.{name}.weight": size for name, size in mlp.items()}
    if family.has_query_norm:
        tensors |= {
            f"self_attn.{name}.weight": (shape.head_width,) for name in ("q_norm", "k_norm")
        }
    biased = _list_biased(family, config)
    tensors |= {f"self_attn.{n}.bias": s[:1] for n, s in attention.items() if n in biased}
    if config.get("mlp_bias"):
        tensors |= {f"mlp.{name}.bias": size[:1] for name, size in mlp.items()}
    return tensors


def _list_biased(family: Family, config: dict[str, Any]) -> frozenset[str]:
    if family.has_qkv_bias:
        return frozenset({"q_proj", "k_proj", "v_proj"})
    if config.get("attention_bias") and not family.is_fused:
        return frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
    return frozenset()
