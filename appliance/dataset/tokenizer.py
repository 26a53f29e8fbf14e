"""The base model's tokenizer, as text needs it: no special token can come out of a document.

A document that contains `<|im_end|>` is text about a token, not a token. Plain text is encoded with
special tokens switched off; what goes into a chat template is disarmed first.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from appliance.errors import BaseModelError

_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTokenizer:
    """A tokenizer and the special tokens that its base declares.

    Attributes:
        plain: encodes special tokens as ordinary text.
        chat: encodes special tokens as what they are; for rendered templates alone.
        bos_token: what a text starts with; empty if the base declares none.
        bos_id: its id, None if there is none.
        eos_token: end of a turn or text; empty if the base declares none.
        special_tokens: longest first.
        virtual_ids: of the learned tokens that a prompt-tuned model reads before every text.
    """

    plain: Tokenizer
    chat: Tokenizer
    bos_token: str
    bos_id: int | None
    eos_token: str
    special_tokens: tuple[str, ...]
    virtual_ids: tuple[int, ...] = ()

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode plain texts; ids and character offsets, nothing added."""
        if len(texts) < _BATCH:  # a batch wakes all threads: dearer than a few texts are
            return [self.plain.encode(text, add_special_tokens=False) for text in texts]
        return list(self.plain.encode_batch(list(texts), add_special_tokens=False))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(encoding.ids) for encoding in self.encode(texts)]

    def start_offsets(self, text: str) -> npt.NDArray[np.int64]:
        """First character of every token of a text."""
        (encoding,) = self.encode([text])
        return np.array([start for start, _ in encoding.offsets], dtype=np.int64)

    def disarm(self, text: str) -> str:
        """Break the special tokens that stand in a text: `<|im_end|>` becomes `< |im_end|>`."""
        for token in self.special_tokens:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def load_tokenizer(folder: Path) -> TextTokenizer:
    """Load the tokenizer of a base model.

    Raises:
        BaseModelError: tokenizer.json is missing or damaged.
    """
    path = folder / "tokenizer.json"
    try:
        plain, chat = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing narrower
        raise BaseModelError(
            f"the tokenizer of {folder} cannot be loaded",
            why="tokenizer.json is missing" if not path.exists() else "tokenizer.json is damaged",
            fix="download or import the base model again",
        ) from exc
    for tokenizer in (plain, chat):
        tokenizer.no_truncation()
        tokenizer.no_padding()
    plain.encode_special_tokens = True
    config = read_tokenizer_config(folder)
    bos = _read_token(config.get("bos_token"))
    added = chat.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special and len(token.content) > 1}
    return TextTokenizer(
        plain=plain,
        chat=chat,
        bos_token=bos,
        bos_id=chat.token_to_id(bos) if bos else None,
        eos_token=_read_token(config.get("eos_token")),
        special_tokens=tuple(sorted(special, key=lambda token: (-len(token), token))),
        virtual_ids=tuple(_find_virtual_ids(chat)),
    )


def name_virtual_token(number: int) -> str:
    """How a virtual token is written in a chat template, counted from 0."""
    return f"<|virtual_{number}|>"


def _find_virtual_ids(tokenizer: Tokenizer) -> Iterator[int]:
    for number in itertools.count():
        found = tokenizer.token_to_id(name_virtual_token(number))
        if found is None:
            return
        yield found


def read_tokenizer_config(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json`; empty if there is none.

    Raises:
        BaseModelError: it is damaged.
    """
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise BaseModelError(
            f"the tokenizer of {folder} cannot be loaded",
            why="tokenizer_config.json is damaged",
            fix="download or import the base model again",
        ) from exc
    return config if isinstance(config, dict) else {}


def _read_token(value: object) -> str:
    """A token is written as text, or as an object with its content."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""
