"""Small random models of every family: what the export matrix is measured on.

Norms and biases are random too, for a fresh model's are ones and noughts, which hide a graph that
leaves them out. Window and original rope length are shorter than the text that is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

# the builder takes every matrix of as many rows as the vocabulary for the head: 2 · 192 ≠ 256
WINDOW, ORIGINAL, TOKENS, CONTEXT, VOCAB = 64, 128, 320, 512, 256

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
MIXED = ["sliding_attention", "full_attention"] * 2
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "long_factor": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5],
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One configuration of a family.

    Attributes:
        name: how the matrix calls it.
        architecture: class of transformers.
        changes: of `SIZES`; None takes a key out.
        text: tokens that are read; what is proven for longrope ends at the original length.
    """

    name: str
    architecture: str
    changes: dict[str, Any] = field(default_factory=dict)
    text: int = TOKENS


def rope(kind: dict[str, Any], theta: float = 10_000.0) -> dict[str, Any]:
    scaled = {"original_max_position_embeddings": ORIGINAL} if len(kind) > 1 else {}
    return {"rope_parameters": {"rope_theta": theta} | scaled | kind}


LINEAR = {"rope_type": "linear", "factor": 4.0}
HEAD = {"head_dim": 16}

ZOO = (
    Member(name="llama", architecture="LlamaForCausalLM"),
    Member(
        name="llama tied", architecture="LlamaForCausalLM", changes={"tie_word_embeddings": True}
    ),
    Member(
        name="llama biases, gelu",
        architecture="LlamaForCausalLM",
        changes={"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"},
    ),
    Member(name="llama llama3", architecture="LlamaForCausalLM", changes=rope(LLAMA3, 5e5)),
    Member(name="llama linear", architecture="LlamaForCausalLM", changes=rope(LINEAR)),
    Member(name="llama yarn", architecture="LlamaForCausalLM", changes=rope(YARN)),
    Member(name="qwen2", architecture="Qwen2ForCausalLM"),
    Member(
        name="qwen2 tied, window",
        architecture="Qwen2ForCausalLM",
        changes={
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 2,
        },
    ),
    Member(name="qwen2 yarn", architecture="Qwen2ForCausalLM", changes=rope(YARN, 1e6)),
    Member(
        name="qwen3",
        architecture="Qwen3ForCausalLM",
        changes=HEAD | rope({"rope_type": "default"}, 1e6),
    ),
    Member(
        name="qwen3 tied, yarn",
        architecture="Qwen3ForCausalLM",
        changes=HEAD | rope(YARN, 1e6) | {"tie_word_embeddings": True},
    ),
    Member(name="mistral", architecture="MistralForCausalLM", changes={"sliding_window": None}),
    Member(
        name="mistral window", architecture="MistralForCausalLM", changes={"sliding_window": WINDOW}
    ),
    Member(
        name="phi3",
        architecture="Phi3ForCausalLM",
        changes={"sliding_window": None, "original_max_position_embeddings": CONTEXT},
    ),
    Member(
        name="phi3 window",
        architecture="Phi3ForCausalLM",
        changes={"sliding_window": WINDOW, "original_max_position_embeddings": CONTEXT},
    ),
    Member(
        name="phi3 longrope",
        architecture="Phi3ForCausalLM",
        changes=rope(LONGROPE)
        | {
            "sliding_window": WINDOW,
            "original_max_position_embeddings": ORIGINAL,
        },
        text=ORIGINAL,
    ),
    Member(
        name="phi3 longrope, part of the head",
        architecture="Phi3ForCausalLM",
        changes=rope(LONGROPE | {"partial_rotary_factor": 0.5})
        | {
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "original_max_position_embeddings": ORIGINAL,
        },
        text=ORIGINAL,
    ),
    Member(
        name="gemma",
        architecture="GemmaForCausalLM",
        changes=HEAD | {"hidden_size": 192},  # its root is no round number
    ),
    Member(
        name="gemma2",
        architecture="Gemma2ForCausalLM",
        changes=HEAD
        | {
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 4.0,
        },
    ),
    Member(
        name="gemma3 text",
        architecture="Gemma3ForCausalLM",
        changes=HEAD
        | {
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 24,
            "layer_types": MIXED,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    Member(
        name="smollm3",
        architecture="SmolLM3ForCausalLM",
        changes={"no_rope_layer_interval": 2, "tie_word_embeddings": True},
    ),
    Member(
        name="granite",
        architecture="GraniteForCausalLM",
        changes={
            "embedding_multiplier": 12.0,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.05,
        },
    ),
    Member(name="olmo", architecture="OlmoForCausalLM", changes={"clip_qkv": None}),
    Member(name="olmo clip", architecture="OlmoForCausalLM", changes={"clip_qkv": 0.5}),
    Member(name="ernie 4.5", architecture="Ernie4_5ForCausalLM", changes=HEAD),
    Member(
        name="ernie 4.5 biases",
        architecture="Ernie4_5ForCausalLM",
        changes=HEAD | {"use_bias": True},
    ),
    Member(name="olmo2", architecture="Olmo2ForCausalLM"),
)
"""What the builder knows, and what the fallback exports."""


def build_member(member: Member, folder: Path, *, seed: int = 7) -> torch.nn.Module:
    """Write a random model with its tokenizer; gives the model as transformers computes it."""
    import transformers

    kind = getattr(transformers, member.architecture)
    sizes = {k: v for k, v in (SIZES | member.changes).items() if v is not None}
    nothing = [k for k, v in member.changes.items() if v is None]
    config = kind.config_class(**sizes, attn_implementation="eager", **dict.fromkeys(nothing))
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                torch.nn.init.normal_(parameter, std=0.09)
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.tie_weights()
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of a word for every id, and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{number}": number for number in range(VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "w1", "eos_token": "w2", "pad_token": "w0", "unk_token": "w3"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | names
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}w4 {{ message.content }} w2 {% endfor %}"
    )


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama dynamic rope": (
        "LlamaForCausalLM",
        {"model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    ),
    "gemma 3 with pictures": ("Gemma3ForConditionalGeneration", {"model_type": "gemma3"}),
    "qwen3-moe": ("Qwen3MoeForCausalLM", {"model_type": "qwen3_moe"}),
    "gpt-oss": ("GptOssForCausalLM", {"model_type": "gpt_oss"}),
    "gpt-2": ("GPT2LMHeadModel", {"model_type": "gpt2"}),
    "gpt-neox": ("GPTNeoXForCausalLM", {"model_type": "gpt_neox"}),
    "stablelm": ("StableLmForCausalLM", {"model_type": "stablelm"}),
    "falcon": ("FalconForCausalLM", {"model_type": "falcon"}),
    "cohere": ("CohereForCausalLM", {"model_type": "cohere"}),
    "glm-4": ("Glm4ForCausalLM", {"model_type": "glm4"}),
}
"""What the issue asks for, or what looks like it, and is not taken."""
