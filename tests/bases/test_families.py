"""Families. Oracle for names and shapes: transformers' own models, built without memory."""

import pytest

from appliance.bases.families import (
    FAMILIES,
    Shape,
    find_why_not_exportable,
    read_context,
    read_ropes,
)
from appliance.bases.tensors import list_tensors

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "head_dim": 16,
}
SHAPE = Shape(
    num_layers=2,
    width=48,
    intermediate_width=80,
    num_heads=4,
    num_kv_heads=2,
    head_width=16,
    vocab_size=96,
    context=64,
    tied=False,
)
KINDS = {
    "LlamaForCausalLM": "LlamaConfig",
    "Qwen2ForCausalLM": "Qwen2Config",
    "Qwen3ForCausalLM": "Qwen3Config",
    "MistralForCausalLM": "MistralConfig",
    "Phi3ForCausalLM": "Phi3Config",
    "GemmaForCausalLM": "GemmaConfig",
    "Gemma2ForCausalLM": "Gemma2Config",
    "Gemma3ForCausalLM": "Gemma3TextConfig",
    "SmolLM3ForCausalLM": "SmolLM3Config",
    "GraniteForCausalLM": "GraniteConfig",
    "OlmoForCausalLM": "OlmoConfig",
    "Olmo2ForCausalLM": "Olmo2Config",
    "Ernie4_5ForCausalLM": "Ernie4_5Config",
}
DERIVED = ("Qwen2ForCausalLM", "Phi3ForCausalLM", "SmolLM3ForCausalLM", "GraniteForCausalLM")
"""These compute the width of a head."""


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("LlamaForCausalLM", {}),
        ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
        ("LlamaForCausalLM", {"tie_word_embeddings": True}),
        ("Qwen2ForCausalLM", {}),
        ("Qwen3ForCausalLM", {"tie_word_embeddings": True}),
        ("Qwen3ForCausalLM", {"attention_bias": True}),
        ("MistralForCausalLM", {"sliding_window": None}),
        ("Phi3ForCausalLM", {"pad_token_id": 0}),
        ("GemmaForCausalLM", {"tie_word_embeddings": True}),
        ("Gemma2ForCausalLM", {"tie_word_embeddings": True}),
        ("Gemma3ForCausalLM", {"tie_word_embeddings": True}),
        ("SmolLM3ForCausalLM", {"pad_token_id": 0, "attention_bias": True, "mlp_bias": True}),
        ("GraniteForCausalLM", {"attention_bias": True, "mlp_bias": True}),
        ("OlmoForCausalLM", {"attention_bias": True}),
        ("Olmo2ForCausalLM", {}),
        ("Ernie4_5ForCausalLM", {"use_bias": True}),
    ],
)
def test_tensors_of_a_family_are_those_of_transformers(architecture, changes):
    torch = pytest.importorskip("torch")
    import transformers

    sizes = SIZES | changes | {"tie_word_embeddings": changes.get("tie_word_embeddings", False)}
    if architecture in (*DERIVED, "OlmoForCausalLM", "Olmo2ForCausalLM"):
        sizes.pop("head_dim")
        sizes["hidden_size"] = 64
    config = getattr(transformers, KINDS[architecture])(**sizes)
    with torch.device("meta"):
        model = getattr(transformers, architecture)(config)
    expected = {name: tuple(value.shape) for name, value in model.named_parameters()}
    shape = Shape(
        num_layers=2,
        width=sizes["hidden_size"],
        intermediate_width=80,
        num_heads=4,
        num_kv_heads=2,
        head_width=16,
        vocab_size=96,
        context=64,
        tied=sizes["tie_word_embeddings"],
    )
    assert list_tensors(FAMILIES[architecture], shape, sizes) == expected


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "yarn"}}),
        ("LlamaForCausalLM", {"hidden_act": "gelu"}),
        ("Qwen2ForCausalLM", {"use_sliding_window": False, "sliding_window": 32768}),
        ("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 64}),
        ("Qwen3ForCausalLM", {"sliding_window": None, "use_sliding_window": False}),
        ("MistralForCausalLM", {}),
        ("MistralForCausalLM", {"sliding_window": 512}),
        ("Phi3ForCausalLM", {"sliding_window": 2047, "partial_rotary_factor": 0.75}),
        ("Phi3ForCausalLM", {"rope_scaling": {"type": "longrope"}}),
        ("GemmaForCausalLM", {"model_type": "gemma", "hidden_act": "gelu"}),
        ("Gemma3ForCausalLM", {"model_type": "gemma3_text", "sliding_window": 512}),
        ("SmolLM3ForCausalLM", {"model_type": "smollm3", "sliding_window": 64}),
        ("OlmoForCausalLM", {"clip_qkv": None}),
    ],
)
def test_proven_configuration_is_exportable(architecture, config):
    assert find_why_not_exportable(architecture, config) == ""


@pytest.mark.parametrize(
    ("architecture", "config", "why_not"),
    [
        ("BloomForCausalLM", {}, "BloomForCausalLM was not proven right in the exporter"),
        ("Qwen3MoeForCausalLM", {}, "exporter: its experts are tensors"),
        ("GptOssForCausalLM", {}, "no attention sinks"),
        ("OlmoForCausalLM", {"clip_qkv": 8.0}, "clip_qkv=8.0 of OlmoForCausalLM"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "dynamic"}}, "rope type 'dynamic'"),
        ("LlamaForCausalLM", {"partial_rotary_factor": 0.75}, "rotary embedding of a part"),
        (
            "LlamaForCausalLM",
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}},
            "rotary embedding of a part",
        ),
        ("Qwen2ForCausalLM", {"rope_parameters": {"rope_type": "llama3"}}, "rope type 'llama3'"),
        (
            "Qwen3ForCausalLM",
            {"model_type": "qwen3", "use_sliding_window": True, "sliding_window": 64},
            "sliding window of 64 positions",
        ),
        ("GraniteForCausalLM", {"rope_scaling": {"rope_type": "yarn"}}, "rope type 'yarn'"),
        ("Qwen3ForCausalLM", {"hidden_act": "relu"}, "activation 'relu'"),
        (
            "GemmaForCausalLM",
            {"model_type": "gemma", "hidden_activation": "gelu"},
            "activation 'gelu'",
        ),
        (
            "Gemma3ForCausalLM",
            {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            "use_bidirectional_attention=True",
        ),
        (
            "Gemma3ForCausalLM",
            {
                "model_type": "gemma3_text",
                "rope_parameters": {"full_attention": {"rope_type": "yarn"}},
            },
            "rope type 'yarn'",
        ),
    ],
)
def test_configuration_that_was_not_proven_is_not_exportable(architecture, config, why_not):
    assert why_not in find_why_not_exportable(architecture, config)


@pytest.mark.parametrize(
    ("config", "ropes"),
    [
        ({}, {"default"}),
        ({"rope_scaling": None}, {"default"}),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, {"default"}),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear"},
                    "sliding_attention": {"rope_type": "default"},
                }
            },
            {"default", "linear"},
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default"}, "rope_type": None}},
            {"default", "unknown"},
        ),
        ({"rope_scaling": "yarn"}, {"unknown"}),
    ],
)
def test_ropes_are_read_in_either_spelling(config, ropes):
    assert read_ropes(config) == ropes


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"original_max_position_embeddings": 4096, "rope_scaling": {"type": "longrope"}}, 4096),
        (
            {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 64}},
            64,
        ),
        ({"rope_scaling": {"type": "longrope"}}, 8192),
        ({"original_max_position_embeddings": 4096, "rope_scaling": {"type": "yarn"}}, 8192),
    ],
)
def test_context_ends_where_a_second_rotary_table_begins(config, context):
    assert read_context(config, 8192) == context
