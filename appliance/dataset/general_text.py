"""General text: what is read again so that nothing is forgotten, and what tells whether it was.

The two never meet. Without a folder of one's own, both come from the sample in `general/`.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from appliance.values import Document

FOLDER = Path(__file__).parent / "general"

HELD_OUT_SHARE = 0.1
"""Part of a folder of general text that judges and is never read in training."""

Purpose = Literal["replay", "held_out"]


def read_sample(purpose: Purpose) -> Iterator[str]:
    """Texts of the sample that ships."""
    packed = (FOLDER / f"{purpose}.txt.xz").read_bytes()
    yield from (text for text in lzma.decompress(packed).decode().split("\n\n\n") if text)


def read_folder(documents_file: Path, purpose: Purpose) -> Iterator[str]:
    """Texts of a folder of general text; near duplicates serve one purpose alone."""
    with documents_file.open(encoding="utf-8") as lines:
        for line in lines:
            document = Document.model_validate_json(line)
            family = document.number if document.family is None else document.family
            digest = hashlib.blake2b(str(family).encode(), digest_size=8).digest()
            is_held_out = int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64
            if document.text and is_held_out == (purpose == "held_out"):
                yield document.text
