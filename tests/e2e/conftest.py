"""The real command line on a small base with random weights and a small folder of documents."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT

DOCUMENTS = ROOT / "samples" / "company_docs"
SMALL = (
    "--set", "tune.epochs=1",
    "--set", "tune.sequence_length=512",
    "--set", "tune.checkpoint_seconds=0.2",
    "--set", "evaluate.num_questions=2",
    "--set", "evaluate.answer_tokens=4",
    "--set", "export.parity_tokens=1000",
)  # fmt: skip
"""Settings that make a run short without leaving out a stage."""


@pytest.fixture(scope="session")
def small_base(tmp_path_factory) -> Path:
    """A Llama of two layers and 1.2 million random weights, with the embedded tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=3,
        pad_token_id=1,
    )
    folder = tmp_path_factory.mktemp("base") / "small"
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(EMBEDDED / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def documents(tmp_path_factory) -> Path:
    """Part of the sample company's folder."""
    folder = tmp_path_factory.mktemp("documents") / "company"
    shutil.copytree(DOCUMENTS / "handbook", folder / "handbook")
    shutil.copytree(DOCUMENTS / "faq", folder / "faq")
    return folder


def build_command(*arguments: object) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "appliance", *map(str, arguments)]


def run_appliance(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line and wait."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.run(
        build_command(*arguments),
        capture_output=True,
        text=True,
        env=environment,
        cwd=options.pop("cwd", ROOT),
        timeout=options.pop("timeout", 400),
        **options,
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_base, documents) -> dict:
    """The result of an uninterrupted run."""
    runs = tmp_path_factory.mktemp("runs")
    done = run_appliance("tune", documents, "--base", small_base, "--runs", runs, "--json", *SMALL)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
