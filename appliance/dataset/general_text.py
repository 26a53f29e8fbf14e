"""General text: what is read again so that nothing is forgotten, and what tells whether it was.

The two never meet. Without a folder of one's own, both come from the sample in `general/`.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from appliance.dataset.encoder import Encoder
from appliance.dataset.tokens import SplitWriter
from appliance.rundir import StageFolder
from appliance.values import Document, Split

FOLDER = Path(__file__).parent / "general"

HELD_OUT_SHARE = 0.1
"""Part of a folder of general text that judges and is never read in training."""

Purpose = Literal["replay", "held_out"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

CHARACTERS_PER_TOKEN = 4
"""Of general text, about: where only a part is wanted, no more is tokenized than that."""


def write_general(
    purpose: Purpose,
    encoder: Encoder,
    vocab_size: int,
    stage: StageFolder,
    *,
    source: Path | None = None,
    max_tokens: int | None = None,
) -> Split:
    """Write general text as a split of a stage.

    Args:
        purpose: names the split, and decides how long its examples are.
        encoder: of the base.
        vocab_size: of the base.
        stage: gets the split.
        source: JSON lines of Document; None for the sample that ships.
        max_tokens: about so many, from the beginnings of all texts; None for all.

    Returns:
        The split, by the name of its purpose.
    """
    texts = read_sample(purpose) if source is None else read_folder(source, purpose)
    if max_tokens is not None:
        texts = _cut_evenly(list(texts), max_tokens * CHARACTERS_PER_TOKEN)
    encode = encoder.encode_whole if purpose == "replay" else encoder.encode_windows
    number = -1
    with SplitWriter(stage.folder / purpose, vocab_size) as writer:
        for number, text in enumerate(texts):
            for example in encode(text, number):
                writer.append(example)
        writer.finish()
    return Split(
        folder=stage.locate(purpose),
        num_documents=number + 1,
        num_examples=writer.marks.num_examples,
        num_tokens=writer.marks.num_tokens,
        num_labels=writer.marks.num_labels,
    )


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


def _cut_evenly(texts: list[str], num_characters: int) -> Iterator[str]:
    """The beginning of every text, so that all together have about so many characters."""
    share = max(1, num_characters // max(1, len(texts)))
    return (text[:share] for text in texts)
