"""What will be trained, to be looked at: examples as the model reads them, labels marked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import ANSWER, PASSAGE, TokenFile, open_token_file


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownPart:
    """A run of text of an example.

    Attributes:
        text: special tokens written out.
        supervised: whether it counts in the loss.
    """

    text: str
    supervised: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownExample:
    """A training example as text.

    Attributes:
        number: position in its split.
        kind: a passage, or a conversation.
        parts: in order.
        num_tokens: that the model reads.
        num_labels: that count in the loss.
    """

    number: int
    kind: Literal["passage", "conversation"]
    parts: tuple[ShownPart, ...]
    num_tokens: int
    num_labels: int


def show_examples(split: Path, tokenizer: TextTokenizer, number: int) -> list[ShownExample]:
    """Examples from all over a split, passages and conversations in turn.

    Args:
        split: folder of its token file.
        tokenizer: of the base it was made for.
        number: of examples, at most.
    """
    file = open_token_file(split)
    rows = [_spread(file, kind, number) for kind in (PASSAGE, ANSWER)]
    least = [number // 2, number - number // 2]
    spare = number - sum(min(len(found), part) for found, part in zip(rows, least, strict=True))
    chosen = np.concatenate(
        [_thin(found, part + spare) for found, part in zip(rows, least, strict=True)]
    )
    return [_show(file, int(row), tokenizer) for row in np.sort(chosen)[:number]]


def _spread(file: TokenFile, kind: int, number: int) -> npt.NDArray[np.int64]:
    """Numbers of examples of a kind, at even distances."""
    return _thin(np.flatnonzero(file.examples_E5[:, 3] == kind), number)


def _thin(rows: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
    if len(rows) <= number:
        return rows
    return rows[np.arange(number) * len(rows) // number]


def _show(file: TokenFile, row: int, tokenizer: TextTokenizer) -> ShownExample:
    start, length, _, kind, _ = map(int, file.examples_E5[row])
    ids = file.tokens_N[start : start + length].tolist()
    marks = file.supervised_N[start : start + length].astype(bool).tolist()
    marks[0] = False  # nothing stands before it, so it is never predicted
    parts, done, shown = [], 0, ""
    for supervised, run in groupby(marks):
        done += len(list(run))
        text = tokenizer.chat.decode(ids[:done], skip_special_tokens=False)
        parts.append(ShownPart(text=text[len(shown) :], supervised=supervised))
        shown = text
    return ShownExample(
        number=row,
        kind="conversation" if kind == ANSWER else "passage",
        parts=tuple(parts),
        num_tokens=length,
        num_labels=sum(marks),
    )
