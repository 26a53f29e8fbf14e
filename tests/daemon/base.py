"""A base model so small that a job on it takes seconds: `python -m tests.daemon.base FOLDER`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import EMBEDDED, ROOT

SIZES = {
    "vocab_size": 8192,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 1024,
}


def make_base(folder: Path) -> Path:
    """Write it from another process: whoever measures keeps no torch in memory."""
    subprocess.run([sys.executable, "-m", __name__, folder], cwd=ROOT, check=True)
    return folder


def main(folder: Path) -> None:
    """A Llama of two layers and 1.2 million random weights, with the embedded tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(5)
    config = LlamaConfig(
        **SIZES, tie_word_embeddings=False, bos_token_id=0, eos_token_id=3, pad_token_id=1
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(EMBEDDED / name, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
