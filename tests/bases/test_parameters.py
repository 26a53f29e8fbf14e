"""Sizes of architectures. Oracle: transformers' own models, built without memory."""

import pytest

from appliance.bases.config import read_shape
from appliance.bases.known import KnownBase, list_known
from appliance.bases.parameters import ARCHITECTURES, count_parameters
from appliance.bases.spec import read_spec

torch = pytest.importorskip("torch")

TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
VARIANTS = {
    "LlamaForCausalLM": ({}, {"attention_bias": True, "mlp_bias": True}, {"head_dim": 32}),
    "MistralForCausalLM": ({"head_dim": 32, "sliding_window": None},),
    "Qwen2ForCausalLM": ({"tie_word_embeddings": True},),
    "Qwen3ForCausalLM": ({"head_dim": 32, "tie_word_embeddings": True}, {"attention_bias": True}),
    "Qwen3MoeForCausalLM": ({"num_experts": 4, "moe_intermediate_size": 48, "head_dim": 16},),
    "Phi3ForCausalLM": ({"sliding_window": None},),
    "GraniteForCausalLM": ({}, {"attention_bias": True, "mlp_bias": True}),
    "SmolLM3ForCausalLM": ({"tie_word_embeddings": True},),
    "GemmaForCausalLM": ({"head_dim": 32},),
    "Gemma2ForCausalLM": ({"head_dim": 32},),
    "Gemma3ForCausalLM": ({"head_dim": 32},),
    "Ernie4_5ForCausalLM": ({"use_bias": True}, {"use_bias": False, "head_dim": 32}),
    "OlmoForCausalLM": ({"tie_word_embeddings": True}, {"attention_bias": True}),
    "Olmo2ForCausalLM": ({"tie_word_embeddings": False},),
    "GptOssForCausalLM": ({"num_local_experts": 4, "head_dim": 16},),
}


def build(architecture: str, sizes: dict, *, device: str):
    import transformers

    kind = getattr(transformers, architecture)
    config = kind.config_class(**sizes)
    with torch.device(device):
        return kind(config)


@pytest.mark.parametrize("known", list_known(), ids=lambda known: known.name)
def test_parameters_of_a_known_base_are_those_of_transformers(known: KnownBase):
    left_out = {"architectures", "model_type", "rope_theta", "rope_scaling"}  # decide no size
    sizes = {key: value for key, value in known.config.items() if key not in left_out}

    model = build(known.architecture, sizes | {"pad_token_id": 0}, device="meta")

    assert known.num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [(name, changes) for name, variants in VARIANTS.items() for changes in variants],
)
def test_small_model_of_every_architecture_is_read_and_counted(architecture, changes, tmp_path):
    torch.manual_seed(1)
    model = build(architecture, TINY | changes, device="cpu")
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")

    spec = read_spec(tmp_path)

    assert spec.architecture == architecture
    assert spec.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    sizes = model.config.to_dict()
    shape = read_shape(tmp_path / "config.json", sizes)
    assert count_parameters(architecture, shape, sizes) == spec.num_parameters


def test_every_architecture_is_tested():
    assert VARIANTS.keys() == ARCHITECTURES.keys()
