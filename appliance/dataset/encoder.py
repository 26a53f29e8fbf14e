"""Plain text to examples whose every token is a label; very long texts in parts.

What is done with them is decided elsewhere: a corpus (`text.py`) or general text
(`general_text.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import Example

PART_CHARACTERS = 200_000
"""A longer text is divided at ends of lines: its tokens are held while it is encoded."""

HELD_OUT_TOKENS = 512
"""Tokens of a held-out example at most; shorter in a base of a shorter context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Text to examples.

    Attributes:
        tokenizer: of the base.
        window: tokens of a held-out example at most.
    """

    tokenizer: TextTokenizer
    window: int

    @property
    def opening(self) -> list[int]:
        """What a text begins with: the base's first token, else what ends its texts; no label."""
        if self.tokenizer.bos_id is not None:
            return [self.tokenizer.bos_id]
        end = self.tokenizer.chat.token_to_id(self.tokenizer.eos_token)
        return [] if end is None else [end]

    def encode_whole(self, text: str, document: int) -> Iterator[Example]:
        """A text as one example, whatever its length; very long ones as several."""
        opening = self.opening
        for part in divide_text(text):
            (encoding,) = self.tokenizer.encode([part])
            yield Example(
                token_ids=opening + encoding.ids,
                supervised=[False] * len(opening) + [True] * len(encoding.ids),
                document=document,
                num_bytes=len(part.encode()),
            )

    def encode_windows(self, text: str, document: int) -> Iterator[Example]:
        """A text as examples of bounded length; each opens with the last token before it."""
        for part in divide_text(text):
            (encoding,) = self.tokenizer.encode([part])
            starts = [0, *(start for start, _ in encoding.offsets[1:]), len(part)]
            before, first = self.opening, 0
            while first < len(encoding.ids):
                last = min(first + self.window - len(before), len(encoding.ids))
                ids = encoding.ids[first:last]
                yield Example(
                    token_ids=before + ids,
                    supervised=[False] * len(before) + [True] * len(ids),
                    document=document,
                    num_bytes=len(part[starts[first] : starts[last]].encode()),
                )
                before, first = ids[-1:], last


def divide_text(text: str) -> Iterator[str]:
    """Parts of at most PART_CHARACTERS, at ends of lines where there are any."""
    start = 0
    while start < len(text):
        end = start + PART_CHARACTERS
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end
