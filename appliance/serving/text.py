"""Tokens become text as they come, and stop strings end it wherever they lie across tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LOOP_TOKENS = 48
"""An answer that ends in this many tokens of one cycle, four rounds at least, leads nowhere."""

_LOOP_PERIOD = 32
"""Longest cycle looked for, in tokens."""

_UNFINISHED = "\ufffd"
"""What the bytes of a character decode to while some are missing."""


class TextStream:
    """The text of tokens, piece by piece; characters of several tokens come whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Begin without tokens."""
        self._tokenizer = tokenizer
        self._token_ids: list[int] = []
        self._start = 0
        self._end = 0

    def add(self, token_ids: Sequence[int]) -> str:
        """What tokens add; a character that is not complete comes with a later one.

        The tokens before them are decoded along, for a tokenizer may write a word differently at
        the beginning of a text.
        """
        self._token_ids.extend(token_ids)
        before = self._tokenizer.decode(self._token_ids[self._start : self._end])
        after = self._tokenizer.decode(self._token_ids[self._start :])
        if len(after) <= len(before) or after.endswith(_UNFINISHED):
            return ""
        self._start, self._end = self._end, len(self._token_ids)
        return after[len(before) :]


class StopFinder:
    """Ends a text before the first of some strings."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Look for these; nothing is held back when there are none."""
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """What can be shown of the text so far: what may begin a stop string is held back."""
        if not self._stops:
            return text
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.found = True
            shown, self._held = self._held[: min(places)], ""
            return shown
        held = max(self._measure_beginning(stop) for stop in self._stops)
        cut = len(self._held) - held
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _measure_beginning(self, stop: str) -> int:
        """Characters at the end of the text that a stop string begins with."""
        longest = min(len(stop) - 1, len(self._held))
        sizes = range(longest, 0, -1)
        return next((size for size in sizes if self._held.endswith(stop[:size])), 0)


def is_looping(token_ids: Sequence[int]) -> bool:
    """Whether the end of an answer is one cycle of tokens, again and again."""
    for period in range(1, _LOOP_PERIOD + 1):
        num_tokens = max(_LOOP_TOKENS, 4 * period)
        tail = token_ids[-num_tokens:]
        if len(tail) == num_tokens and tail[period:] == tail[:-period]:
            return True
    return False
