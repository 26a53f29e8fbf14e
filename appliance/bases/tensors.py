"""Which tensors a checkpoint of a family must have.

The exporter fills one that is missing with random numbers, and says nothing.
"""

from __future__ import annotations

from typing import Any

from appliance.bases.families import Family, Shape


def list_tensors(
    family: Family, shape: Shape, config: dict[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor a checkpoint of this family must have.

    Source: parameter names of transformers 5.23, `models/*/modeling_*.py`.
    """
    width, vocab = shape.width, shape.vocab_size
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
    layer = _list_layer(family, shape, config)
    for number in range(shape.num_layers):
        tensors |= {f"model.layers.{number}.{name}": size for name, size in layer.items()}
    if family.norms:
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
    tensors: dict[str, tuple[int, ...]] = {f"{name}.weight": (width,) for name in family.norms}
    tensors |= {f"self_attn.{name}.weight": size for name, size in attention.items()}
    tensors |= {f"mlp.{name}.weight": size for name, size in mlp.items()}
    if family.query_norm != "none":
        is_full = family.query_norm == "full"
        tensors["self_attn.q_norm.weight"] = (queries if is_full else shape.head_width,)
        tensors["self_attn.k_norm.weight"] = (keys if is_full else shape.head_width,)
    biased = _list_biased(family, config)
    tensors |= {f"self_attn.{n}.bias": s[:1] for n, s in attention.items() if n in biased}
    if config.get("mlp_bias") or (family.bias_key == "use_bias" and config.get("use_bias")):
        tensors |= {f"mlp.{name}.bias": size[:1] for name, size in mlp.items()}
    return tensors


def _list_biased(family: Family, config: dict[str, Any]) -> frozenset[str]:
    if family.has_qkv_bias:
        return frozenset({"q_proj", "k_proj", "v_proj"})
    if config.get(family.bias_key):
        return frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
    return frozenset()
