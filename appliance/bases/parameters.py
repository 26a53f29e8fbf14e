"""How many weights an architecture has, in closed form, and which architectures are known at all.

Letters: L layers, D model width, I intermediate width, Q all query heads together, K all key heads,
H query heads, E experts, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from appliance.bases.families import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """What tells one architecture from a plain Llama, as far as its size depends on it.

    Attributes:
        model_type: its name in config.json; transformers chooses the class by it.
        norms: norms as wide as the model, in a layer.
        has_final_norm: whether one more stands before the head.
        query_norm: norms of queries and keys: none, as wide as a head, or as all heads.
        qkv_bias: queries, keys and values always have a bias.
        bias_key: key of config.json that gives all four matrices of the attention a bias.
        experts: layout of the mixture of experts that stands in for the MLP.
    """

    model_type: str
    norms: int = 2
    has_final_norm: bool = True
    query_norm: Literal["none", "head", "full"] = "none"
    qkv_bias: bool = False
    bias_key: str = "attention_bias"
    experts: Literal["none", "qwen3", "gpt-oss"] = "none"


ARCHITECTURES = {
    "LlamaForCausalLM": Architecture(model_type="llama"),
    "MistralForCausalLM": Architecture(model_type="mistral", bias_key=""),
    "Qwen2ForCausalLM": Architecture(model_type="qwen2", qkv_bias=True, bias_key=""),
    "Qwen3ForCausalLM": Architecture(model_type="qwen3", query_norm="head"),
    "Qwen3MoeForCausalLM": Architecture(model_type="qwen3_moe", query_norm="head", experts="qwen3"),
    "Phi3ForCausalLM": Architecture(model_type="phi3", bias_key=""),
    "GemmaForCausalLM": Architecture(model_type="gemma"),
    "Gemma2ForCausalLM": Architecture(model_type="gemma2", norms=4),
    "Gemma3ForCausalLM": Architecture(model_type="gemma3_text", norms=4, query_norm="head"),
    "GraniteForCausalLM": Architecture(model_type="granite"),
    "SmolLM3ForCausalLM": Architecture(model_type="smollm3"),
    "Ernie4_5ForCausalLM": Architecture(model_type="ernie4_5", bias_key="use_bias"),
    "OlmoForCausalLM": Architecture(model_type="olmo", norms=0, has_final_norm=False),
    "Olmo2ForCausalLM": Architecture(model_type="olmo2", query_norm="full"),
    "GptOssForCausalLM": Architecture(model_type="gpt_oss", experts="gpt-oss"),
}
"""Architectures that may be used or imported; anything else is refused before a library sees it.

Source: parameter names and shapes of transformers 5.23, `models/*/modeling_*.py`; held against its
models by `tests/bases/test_parameters.py`.
"""


def count_parameters(architecture: str, shape: Shape, config: dict[str, Any]) -> int:
    """Weights of a model.

    Args:
        architecture: a key of `ARCHITECTURES`.
        shape: its sizes.
        config: all of config.json: biases and experts.
    """
    layout = ARCHITECTURES[architecture]
    layer = _count_attention(layout, shape, config) + layout.norms * shape.width
    layer += _count_mlp(layout, shape, config)
    embeddings = shape.vocab_size * shape.width * (1 if shape.tied else 2)
    return shape.num_layers * layer + embeddings + layout.has_final_norm * shape.width


def _count_attention(layout: Architecture, shape: Shape, config: dict[str, Any]) -> int:
    queries, keys = shape.num_heads * shape.head_width, shape.num_kv_heads * shape.head_width
    weights = 2 * shape.width * queries + 2 * shape.width * keys
    has_bias = bool(config.get(layout.bias_key, layout.experts == "gpt-oss"))
    if layout.qkv_bias or has_bias:
        weights += queries + 2 * keys
    if has_bias:
        weights += shape.width
    if layout.experts == "gpt-oss":
        weights += shape.num_heads  # sinks
    norms = {"none": 0, "head": 2 * shape.head_width, "full": queries + keys}
    return weights + norms[layout.query_norm]


def _count_mlp(layout: Architecture, shape: Shape, config: dict[str, Any]) -> int:
    width, inner = shape.width, shape.intermediate_width
    if layout.experts == "qwen3":
        experts = int(config.get("num_experts") or config["num_local_experts"])  # transformers 4, 5
        return experts * (3 * width * int(config["moe_intermediate_size"]) + width)
    if layout.experts == "gpt-oss":
        experts = int(config["num_local_experts"])
        return experts * (3 * width * inner + 2 * inner + width + width + 1)
    biased = config.get("mlp_bias") or (layout.bias_key == "use_bias" and config.get("use_bias"))
    return 3 * width * inner + (2 * inner + width if biased else 0)
