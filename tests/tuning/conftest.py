"""A real two-layer Llama with random weights, and packs for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from appliance.dataset.tokens import Example, TokenFile, write_token_file
from appliance.tuning.attention import IMPLEMENTATION
from appliance.values import MemoryEstimate, TrainPlan

VOCAB = 128


def make_plan(**changes) -> TrainPlan:
    values = dict(
        base="tiny",
        method="lora",
        device="cpu",
        compute_dtype="float32",
        rank=4,
        tunes_head=True,
        recompute=False,
        sequence_length=64,
        packs_per_step=1,
        num_epochs=1,
        num_steps=8,
        threads=1,
        memory=MemoryEstimate(
            runtime_bytes=0,
            weights_bytes=0,
            trainable_bytes=0,
            gradients_bytes=0,
            optimizer_bytes=0,
            activations_bytes=0,
            head_bytes=0,
        ),
        memory_limit_bytes=2**30,
        seconds={},
        disk_bytes=0,
        rejected=(),
        reason="test",
    )
    return TrainPlan(**(values | changes))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A checkpoint of a two-layer Llama, width 64 (NF4 blocks need multiples of 64)."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        attn_implementation=IMPLEMENTATION,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():  # the default start is too close to nought to show faults
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def split(tmp_path) -> TokenFile:
    """Forty examples of 8 to 40 tokens whose next token depends on the last one."""
    rng = np.random.default_rng(3)
    examples = []
    for document in range(40):
        start, length = int(rng.integers(VOCAB)), int(rng.integers(8, 40))
        ids = [(start + 3 * step) % VOCAB for step in range(length)]
        supervised = [index >= length // 3 for index in range(length)]
        examples.append(
            Example(token_ids=ids, supervised=supervised, document=document, num_bytes=length)
        )
    return write_token_file(tmp_path / "split", examples, VOCAB)
