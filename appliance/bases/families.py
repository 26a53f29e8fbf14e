"""Model families: which tensors each must have, and whether the exporter handles it rightly.

Both are needed because the exporter is silent about either: a missing tensor becomes random
numbers, and several configurations build without an error and compute something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


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


PLAIN = ("input_layernorm", "post_attention_layernorm")
AROUND = (*PLAIN, "pre_feedforward_layernorm", "post_feedforward_layernorm")
"""Norms of a layer: before attention and MLP, or after them too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What tells one architecture from a plain Llama, and what was proven right for it.

    Attributes:
        ropes: kinds of rotary embedding that are trained and exported rightly.
        activations: of the gated MLP.
        norms: of a layer; none when the norms have no weights.
        has_qkv_bias: queries, keys and values always have a bias (the output has none).
        query_norm: queries and keys are normed: not, in each head, or over all heads.
        is_fused: queries, keys and values are one matrix; gate and up too.
        bias_key: key of config.json that gives all four matrices of the attention a bias.
        has_windows: layers with a sliding window are trained and exported rightly.
        default_window: sliding window when config.json does not say.
        rotates_part: a rotary embedding of a part of each head is exported rightly.
        is_tied: head and embedding are one matrix when config.json does not say.
        default_head_width: when config.json does not say; width / heads when None.
        unproven: keys of config.json that may only have these values.
    """

    ropes: frozenset[str] = frozenset({"default"})
    activations: frozenset[str] = frozenset({"silu"})
    norms: tuple[str, ...] = PLAIN
    has_qkv_bias: bool = False
    query_norm: Literal["none", "head", "full"] = "none"
    is_fused: bool = False
    bias_key: str = "attention_bias"
    has_windows: bool = False
    default_window: int | None = None
    rotates_part: bool = False
    is_tied: bool = False
    default_head_width: int | None = None
    unproven: tuple[tuple[str, tuple[Any, ...]], ...] = ()


_SCALED = frozenset({"default", "linear", "yarn"})
_TANH = frozenset({"gelu_pytorch_tanh"})

FAMILIES = {
    "LlamaForCausalLM": Family(ropes=_SCALED | {"llama3"}, activations=frozenset({"silu", "gelu"})),
    "Qwen2ForCausalLM": Family(
        ropes=frozenset({"default", "yarn"}), has_qkv_bias=True, has_windows=True
    ),
    "Qwen3ForCausalLM": Family(ropes=frozenset({"default", "yarn"}), query_norm="head"),
    "MistralForCausalLM": Family(has_windows=True, default_window=4096, bias_key=""),
    "Phi3ForCausalLM": Family(
        ropes=frozenset({"default", "longrope"}),
        is_fused=True,
        has_windows=True,
        rotates_part=True,
        bias_key="",
    ),
    "GemmaForCausalLM": Family(
        activations=_TANH,
        is_tied=True,
        default_head_width=256,
        unproven=(("use_bidirectional_attention", (None, False)),),
    ),
    "Gemma2ForCausalLM": Family(
        activations=_TANH,
        norms=AROUND,
        has_windows=True,
        is_tied=True,
        default_head_width=256,
        unproven=(("use_bidirectional_attention", (None, False)),),
    ),
    "Gemma3ForCausalLM": Family(
        ropes=frozenset({"default", "linear"}),
        activations=_TANH,
        norms=AROUND,
        query_norm="head",
        has_windows=True,
        is_tied=True,
        default_head_width=256,
        unproven=(
            ("use_bidirectional_attention", (None, False)),
            ("attn_logit_softcapping", (None,)),
            ("final_logit_softcapping", (None,)),
        ),
    ),
    "SmolLM3ForCausalLM": Family(is_tied=True),
    "GraniteForCausalLM": Family(),
    "OlmoForCausalLM": Family(norms=(), unproven=(("clip_qkv", (None,)),)),
    "Olmo2ForCausalLM": Family(
        norms=("post_attention_layernorm", "post_feedforward_layernorm"), query_norm="full"
    ),
    "Ernie4_5ForCausalLM": Family(is_tied=True, bias_key="use_bias"),
}
"""Families that train, merge and export rightly, each with what of it was tried.

Source: `scripts/bench export`, which writes docs/reference/export-matrix.md; what is not in that
table is refused here.
"""


def find_why_not_exportable(architecture: str, config: dict[str, Any]) -> str:
    """Why training or the exporter would not give the same model; "" when they do.

    Args:
        architecture: class name from config.json.
        config: all of config.json.
    """
    family = FAMILIES.get(architecture)
    if family is None:
        reason = f": {UNPROVEN[architecture]}" if architecture in UNPROVEN else ""
        return f"{architecture} was not proven right in the exporter{reason}"
    for rope in sorted(read_ropes(config) - family.ropes):
        return f"rope type '{rope}' of {architecture} was not proven right in the exporter"
    if read_rotary_share(config) != 1.0 and not family.rotates_part:
        return "rotary embedding of a part of the head was not proven right in the exporter"
    window = read_window(family, config)
    if window and not family.has_windows:
        return f"the sliding window of {window} positions was not proven right in {architecture}"
    activation = read_activation(config)
    if activation not in family.activations:
        return f"activation '{activation}' of {architecture} was not proven right in the exporter"
    for key, values in family.unproven:
        if config.get(key) not in values:
            return f"{key}={config[key]} of {architecture} was not proven right in the exporter"
    return ""


def read_activation(config: dict[str, Any]) -> Any:
    """Activation of the MLP; Gemma has a key of its own, with a default that older files lack."""
    if str(config.get("model_type", "")).startswith("gemma"):
        return config.get("hidden_activation") or "gelu_pytorch_tanh"
    return config.get("hidden_act", "silu")


def read_ropes(config: dict[str, Any]) -> frozenset[str]:
    """Kinds of the rotary embedding in any layer, in the spelling of transformers 5 or 4."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        return frozenset({"unknown"})
    if {"full_attention", "sliding_attention"} & rope.keys():
        return frozenset().union(*map(_read_rope, rope.values()))
    return _read_rope(rope)


def _read_rope(rope: Any) -> frozenset[str]:
    if not isinstance(rope, dict):
        return frozenset({"unknown"})
    kind = rope.get("rope_type", rope.get("type", "default"))
    return frozenset({kind if isinstance(kind, str) else "unknown"})


def read_context(config: dict[str, Any], longest: int) -> int:
    """Positions that a model is used for: with two rotary tables, those of the first.

    Where the second begins, transformers rotates all positions anew; a cache would mix both.

    Args:
        config: all of config.json.
        longest: positions that it states.
    """
    if "longrope" not in read_ropes(config):
        return longest
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    key = "original_max_position_embeddings"
    original = config.get(key) or rope.get(key)
    return original if type(original) is int and 0 < original < longest else longest


def read_rotary_share(config: dict[str, Any]) -> float:
    """Part of each head that is rotated, in the spelling of transformers 5 or 4."""
    rope = config.get("rope_parameters")
    inside = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    return float(config.get("partial_rotary_factor") or inside or 1.0)


def read_window(family: Family, config: dict[str, Any]) -> int:
    """Positions of the sliding window; 0 for full attention."""
    if "use_sliding_window" in config and not config["use_sliding_window"]:
        return 0
    if config.get("model_type") in _OFF_BY_DEFAULT or family.has_qkv_bias:
        return int(config.get("sliding_window") or 0) if config.get("use_sliding_window") else 0
    window = config.get("sliding_window", family.default_window)
    return int(window or 0)


_OFF_BY_DEFAULT = ("qwen2", "qwen3", "smollm3")
"""Model types whose window is off unless it is switched on."""

UNPROVEN = {
    "Qwen3MoeForCausalLM": "its experts are tensors of three dimensions, which LoRA does not reach",
    "GptOssForCausalLM": "its experts are tensors of three dimensions, which LoRA does not reach, "
    "and packs have no attention sinks",
}
"""What stands in the way of architectures that are known by their size."""
