"""Families. Oracle for names and shapes: transformers' own models, built without memory."""

import pytest

from appliance.bases.families import (
    FAMILIES,
    Shape,
    find_why_not_exportable,
    list_tensors,
    read_rope,
)

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
}


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
    ],
)
def test_tensors_of_a_family_are_those_of_transformers(architecture, changes):
    torch = pytest.importorskip("torch")
    import transformers

    sizes = SIZES | changes | {"tie_word_embeddings": changes.get("tie_word_embeddings", False)}
    if architecture in ("Qwen2ForCausalLM", "Phi3ForCausalLM"):
        sizes.pop("head_dim")  # these derive it
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
        ("LlamaForCausalLM", {"hidden_act": "gelu"}),
        ("Qwen2ForCausalLM", {"use_sliding_window": False, "sliding_window": 32768}),
        ("Qwen3ForCausalLM", {"sliding_window": None, "use_sliding_window": False}),
        ("MistralForCausalLM", {"sliding_window": None}),
        ("Phi3ForCausalLM", {"sliding_window": None}),
    ],
)
def test_proven_configuration_is_exportable(architecture, config):
    assert find_why_not_exportable(architecture, config) == ""


@pytest.mark.parametrize(
    ("architecture", "config", "why_not"),
    [
        ("OlmoForCausalLM", {}, "OlmoForCausalLM was not proven right in the exporter"),
        (
            "LlamaForCausalLM",
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope type 'linear'",
        ),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "yarn"}}, "rope type 'yarn'"),
        ("Qwen3ForCausalLM", {"rope_scaling": {"rope_type": "yarn"}}, "rope type 'yarn'"),
        ("Qwen2ForCausalLM", {"rope_parameters": {"rope_type": "llama3"}}, "rope type 'llama3'"),
        ("Phi3ForCausalLM", {"rope_scaling": {"type": "longrope"}}, "rope type 'longrope'"),
        ("Phi3ForCausalLM", {"partial_rotary_factor": 0.75}, "rotary embedding of a part"),
        (
            "Phi3ForCausalLM",
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}},
            "rotary embedding of a part",
        ),
        ("MistralForCausalLM", {"sliding_window": 512}, "sliding window of 512 positions"),
        ("MistralForCausalLM", {}, "sliding window of 4096 positions"),
        ("Phi3ForCausalLM", {"sliding_window": 2047}, "sliding window of 2047 positions"),
        ("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 64}, "window of 64"),
        ("Qwen3ForCausalLM", {"hidden_act": "relu"}, "activation 'relu'"),
    ],
)
def test_configuration_that_exports_wrongly_is_not_exportable(architecture, config, why_not):
    assert why_not in find_why_not_exportable(architecture, config)


@pytest.mark.parametrize(
    ("config", "rope"),
    [
        ({}, "default"),
        ({"rope_scaling": None}, "default"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "default"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default"}, "rope_type": None}},
            "unknown",
        ),
        ({"rope_scaling": "yarn"}, "unknown"),
    ],
)
def test_rope_is_read_in_either_spelling(config, rope):
    assert read_rope(config) == rope
