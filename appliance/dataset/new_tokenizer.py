"""A tokenizer from nothing: byte-level BPE, so that every text has tokens and nothing is unknown.

It takes special tokens, their roles and the chat template from a pattern, a base that has them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

COPIED_FILES = ("tokenizer_config.json", "chat_template.jinja")
"""What of the pattern is taken as it is."""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str]
) -> Tokenizer:
    """Learn which bytes belong together; every digit stays a token, so all numbers read alike.

    Args:
        texts: what it learns from.
        vocab_size: tokens at most, special ones and the 256 bytes among them.
        special_tokens: the first ones.

    Source: Sennrich et al. 2016, arXiv:1508.07909; over bytes, Radford et al. 2019, section 2.2.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, pattern: Path, folder: Path) -> None:
    """Write a tokenizer with what else a base needs to read and to chat."""
    tokenizer.save(str(folder / "tokenizer.json"))
    for name in COPIED_FILES:
        shutil.copyfile(pattern / name, folder / name)
