"""Placeholders: one value, one number, in all documents of a run.

The process that reads a file never tells a value. It puts a mark there: the kind, and a hash under
a key that lives as long as the run's process and is written nowhere. The parent, which sees all
files, turns marks into `<EMAIL_3>`, numbered as they come.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from appliance.documents.scrubbing.finding import Kind

_OPEN, _CLOSE = "\ue000", "\ue001"
"""Private-use characters, which cleaning takes out of every text."""

_MARK = re.compile(f"{_OPEN}([a-z_]+):([0-9a-f]{{16}}){_CLOSE}")
_SIGNS = re.compile(r"[\s()./-]+")
_SPELLED_FREELY = frozenset(("iban", "card", "phone", "national_id", "ip", "email", "name"))
KEY_BYTES = 32


def make_mark(kind: Kind, value: str, key: bytes) -> str:
    """A mark for a value; ways of writing the same number or address share it."""
    if kind in _SPELLED_FREELY:
        value = (
            value.casefold() if kind in ("email", "ip", "name") else _SIGNS.sub("", value).upper()
        )
    digest = hashlib.blake2b(f"{kind}\0{value}".encode(), key=key, digest_size=8).hexdigest()
    return f"{_OPEN}{kind}:{digest}{_CLOSE}"


def find_marks(text: str) -> set[str]:
    """All marks that stand in a text."""
    return {match[0] for match in _MARK.finditer(text)}


def drop_marks(text: str) -> str:
    """A text without characters that could pass for a mark."""
    if _OPEN not in text and _CLOSE not in text:
        return text
    return text.replace(_OPEN, "").replace(_CLOSE, "")


class Placeholders:
    """Numbers for marks: eight bytes and a number each, nothing of the value."""

    def __init__(self) -> None:
        """Nothing is numbered yet."""
        self._numbers: dict[int, int] = {}
        self._last: Counter[str] = Counter()

    def fill_in(self, text: str) -> str:
        """The text with `<EMAIL_3>` in place of marks."""
        if _OPEN not in text:
            return text
        return _MARK.sub(self._number, text)

    def _number(self, match: re.Match[str]) -> str:
        kind, identity = match[1], int(match[2], 16)
        number = self._numbers.get(identity)
        if number is None:
            self._last[kind] += 1
            number = self._numbers[identity] = self._last[kind]
        return f"<{kind.upper()}_{number}>"
