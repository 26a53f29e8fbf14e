"""The whole line on other architectures: small random weights from their real configurations."""

import json
import shutil

import pytest

from tests.conftest import EMBEDDED
from tests.e2e.conftest import SMALL, run_appliance

SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 3,
    "pad_token_id": 1,
}
CONFIGS = {
    "Qwen2Config": {"tie_word_embeddings": True},
    "Qwen3Config": {"head_dim": 32, "tie_word_embeddings": True},
    "MistralConfig": {"head_dim": 32, "sliding_window": 64},
    "Gemma2Config": {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64},
    "Phi3Config": {"sliding_window": None, "original_max_position_embeddings": 1024},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("Gemma2Config", "qlora"),
        ("Qwen3Config", "adapter"),
        ("MistralConfig", "lora"),
        ("Phi3Config", "qlora"),
        ("Qwen3Config", "full"),
        ("Qwen2Config", "prompt"),  # tied, and without a chat template
    ],
)
def test_architecture_is_tuned_exported_and_answers(name, method, documents, tmp_path):
    import torch
    import transformers

    torch.manual_seed(5)
    config = getattr(transformers, name)(**SHAPE, **CONFIGS[name])
    base = tmp_path / "base"
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(base)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(EMBEDDED / file, base / file)
    if method == "prompt":
        (base / "chat_template.jinja").unlink()

    done = run_appliance(
        "tune", documents, "--base", base, "--runs", tmp_path / "runs", "--json",
        "--set", f"tune.method={method}", *SMALL,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["method"] == method
    assert result["tuned_loss"] < result["base_loss"]
    assert result["gain_kept"] >= 0.98
    answer = run_appliance("chat", result["bundle"], "-m", "Hello", "--max-tokens", 4)
    assert answer.returncode == 0, answer.stderr
