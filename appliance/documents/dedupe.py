"""Exact duplicates: two files whose text is the same but for spaces and capitals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from appliance.values import Turn


def fingerprint_text(text: str, conversations: Iterable[Iterable[Turn]]) -> bytes:
    """A hash that equal documents share, whatever their line breaks, spaces and capitals.

    The first file that is read keeps its text; `read.py` names it in the verdict of the others.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(" ".join(text.casefold().split()).encode())
    for turns in conversations:
        for turn in turns:
            line = f"\0{turn.role}\0{' '.join(turn.content.casefold().split())}"
            digest.update(line.encode())
    return digest.digest()
