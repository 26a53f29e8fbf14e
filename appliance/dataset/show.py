"""What will be trained, to be looked at: examples as the model reads them, labels marked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from appliance.dataset.origins import read_origins
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.values import ExampleKind, ExampleOrigin


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
        kind: a passage, a conversation, or what its question was made from.
        source: file it comes from.
        parts: in order.
        num_tokens: that the model reads.
        num_labels: that count in the loss.
    """

    number: int
    kind: ExampleKind
    source: str
    parts: tuple[ShownPart, ...]
    num_tokens: int
    num_labels: int


def show_examples(split: Path, tokenizer: TextTokenizer, number: int) -> list[ShownExample]:
    """Examples from all over a split, of every kind in turn.

    Args:
        split: folder of its token file.
        tokenizer: of the base it was made for.
        number: of examples, at most.
    """
    file = open_token_file(split)
    origins = read_origins(split)
    rows: dict[ExampleKind, list[int]] = defaultdict(list)
    for row, origin in enumerate(origins):
        rows[origin.kind].append(row)
    chosen: list[int] = []
    for turn, left in enumerate(sorted(rows.values(), key=len)):
        chosen += _thin(left, (number - len(chosen)) // (len(rows) - turn))
    return [_show(file, row, origins[row], tokenizer) for row in sorted(chosen)]


def _thin(rows: list[int], number: int) -> list[int]:
    """At even distances."""
    if len(rows) <= number:
        return rows
    return [rows[turn * len(rows) // number] for turn in range(number)]


def _show(
    file: TokenFile, row: int, origin: ExampleOrigin, tokenizer: TextTokenizer
) -> ShownExample:
    start, length = map(int, file.examples_E5[row, :2])
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
        kind=origin.kind,
        source=origin.source,
        parts=tuple(parts),
        num_tokens=length,
        num_labels=sum(marks),
    )
