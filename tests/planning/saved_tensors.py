"""What torch keeps for the backward pass: the oracle of the memory model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers

from appliance.dataset.pack import Pack
from appliance.planning.training import Training
from appliance.tuning.attention import IMPLEMENTATION
from appliance.tuning.loop import sum_pack_loss
from appliance.tuning.method import METHODS
from appliance.tuning.model import wrap_model
from appliance.values import BaseSpec


def count_saved_floats(spec: BaseSpec, training: Training) -> float:
    """Floats saved for a token of a pack, frozen and trainable weights left out."""
    model = _build(spec, training)
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    alive: list[torch.Tensor] = []
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        sum_pack_loss(wrap_model(model), _make_pack(training.sequence_length, spec.vocab_size))
    return sum(saved.values()) / 4 / training.sequence_length


def _build(spec: BaseSpec, training: Training) -> Any:
    kind = "Qwen3" if spec.model_type == "qwen3" else "Llama"
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=spec.width,
        intermediate_size=spec.intermediate_width,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        num_key_value_heads=spec.num_kv_heads,
        head_dim=spec.head_width,
        vocab_size=spec.vocab_size,
        tie_word_embeddings=spec.tied,
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.set_attn_implementation(IMPLEMENTATION)
    for value in model.parameters():
        value.requires_grad_(False)
    plan: Any = SimpleNamespace(rank=training.rank, tunes_head=False)
    return METHODS[training.method].attach(model, plan, 0).train()


def _make_pack(length: int, vocab_size: int) -> Pack:
    ids = np.arange(length) % vocab_size
    cut = length // 3
    return Pack(
        token_ids_T=ids,
        labels_T=ids,
        positions_T=np.concatenate([np.arange(cut), np.arange(length - cut)]),
        segments=((0, cut), (cut, length)),
    )
