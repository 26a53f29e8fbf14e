"""Bases to plan for: small ones with random weights, and the shapes of published ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from appliance.planning.training import count_embedding, count_linear, count_norms  # noqa: E402
from appliance.values import BaseSpec  # noqa: E402

ARCHITECTURES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}

SMALL = {
    # model_type, layers, width, inner, heads, key heads, head width, vocabulary, tied
    "14 M": ("llama", 8, 320, 704, 5, 5, 64, 8192, False),
    "31 M": ("llama", 10, 448, 1152, 7, 7, 64, 16_384, True),
    "107 M": ("qwen3", 16, 768, 2048, 12, 4, 64, 8192, True),
    "135 M": ("llama", 30, 576, 1536, 9, 3, 64, 49_152, True),
    "348 M": ("qwen3", 24, 1024, 3584, 16, 8, 64, 8192, True),
}
"""Shapes that this machine trains in minutes; "135 M" is that of SmolLM2."""

PUBLISHED = {
    "Qwen2.5-0.5B": ("qwen2", 24, 896, 4864, 14, 2, 64, 151_936, True),
    "Qwen2.5-1.5B": ("qwen2", 28, 1536, 8960, 12, 2, 128, 151_936, True),
    "Qwen2.5-7B": ("qwen2", 28, 3584, 18_944, 28, 4, 128, 152_064, False),
    "Qwen3-0.6B": ("qwen3", 28, 1024, 3072, 16, 8, 128, 151_936, True),
    "Qwen3-4B": ("qwen3", 36, 2560, 9728, 32, 8, 128, 151_936, True),
    "Qwen3-8B": ("qwen3", 36, 4096, 12_288, 32, 8, 128, 151_936, False),
    "Qwen3-14B": ("qwen3", 40, 5120, 17_408, 40, 8, 128, 151_936, False),
    "Llama-2-7B": ("llama", 32, 4096, 11_008, 32, 32, 128, 32_000, False),
    "Llama-3.1-8B": ("llama", 32, 4096, 14_336, 32, 8, 128, 128_256, False),
    "Llama-3.2-3B": ("llama", 28, 3072, 8192, 24, 8, 128, 128_256, True),
    "Llama-3.1-70B": ("llama", 80, 8192, 28_672, 64, 8, 128, 128_256, False),
}
"""Source: config.json of the models."""


def make_spec(name: str, folder: Path | None = None) -> BaseSpec:
    """A base by its name.

    Args:
        name: of `SMALL` or `PUBLISHED`.
        folder: of its weights, where there are any.
    """
    kind, layers, width, inner, heads, keys, head, vocab, tied = (SMALL | PUBLISHED)[name]
    spec = BaseSpec(
        name=name,
        folder=str(folder or ""),
        architecture=f"{ARCHITECTURES[kind]}ForCausalLM",
        model_type=kind,
        num_layers=layers,
        width=width,
        intermediate_width=inner,
        num_heads=heads,
        num_kv_heads=keys,
        head_width=head,
        vocab_size=vocab,
        context=131_072,
        tied=tied,
        num_parameters=0,
        weights_bytes=0,
        dtype="bfloat16",
        licence="",
        exportable=True,
        sha256=name,
    )
    weights = count_linear(spec) + count_embedding(spec) + count_norms(spec)
    return spec.model_copy(update={"num_parameters": weights, "weights_bytes": 2 * weights})


def make_config(spec: BaseSpec) -> Any:
    """The configuration of transformers that has this shape."""
    import transformers

    return getattr(transformers, f"{ARCHITECTURES[spec.model_type]}Config")(
        hidden_size=spec.width,
        intermediate_size=spec.intermediate_width,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        num_key_value_heads=spec.num_kv_heads,
        head_dim=spec.head_width,
        vocab_size=spec.vocab_size,
        tie_word_embeddings=spec.tied,
        max_position_embeddings=4096,
    )
