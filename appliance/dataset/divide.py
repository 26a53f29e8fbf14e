"""How a corpus is divided, for `tune` and `pretrain` alike.

So what one of them trained on never judges the other. A small corpus is divided with care
(`split.py`: shares kept at every size, sections where there are hardly any documents). A large one
by a hash of every document's family, which needs no memory, and only as much is kept apart as a
hardly any documents). A large one by a hash of every document's family, which needs no memory, and
only as much is kept apart as a judgement needs.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.dataset.split import SplitName, assign_splits
from appliance.dataset.units import Unit
from appliance.recipe import DatasetRecipe
from appliance.values import Document, Turn

SMALL_CHARACTERS = 16_000_000
"""Up to this a corpus is divided with care, which takes its units in memory."""

HELD_OUT_CHARACTERS = 4_000_000
"""Of a large corpus, kept apart for each of choices and verdict at most: a million tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a document that goes into one split.

    Attributes:
        split: which.
        text: clean text; of a conversation, what was said.
    """

    split: SplitName
    text: str


def divide_units(
    units: list[Unit], documents: Sequence[Document], recipe: DatasetRecipe, num_characters: int
) -> dict[int, SplitName]:
    """The split of every unit, by its number.

    Args:
        units: of the whole corpus.
        documents: those they come from.
        recipe: shares and seed.
        num_characters: of the whole corpus.

    Raises:
        DocumentsError: there is too little text, or it cannot be divided in three.
    """
    if num_characters <= SMALL_CHARACTERS:
        return assign_splits(
            units, valid_share=recipe.valid_share, test_share=recipe.test_share, seed=recipe.seed
        )
    names = {d.number: draw_split(d, recipe, num_characters) for d in documents}
    return {unit.number: names[unit.document] for unit in units}


def draw_split(document: Document, recipe: DatasetRecipe, num_characters: int) -> SplitName:
    """The split of a document of a large corpus; near duplicates go together."""
    family = document.number if document.family is None else document.family
    digest = hashlib.blake2b(f"{recipe.seed} {family}".encode(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "big") / 2**64
    enough = HELD_OUT_CHARACTERS / num_characters
    test = min(recipe.test_share, enough)
    if drawn < test:
        return "test"
    return "valid" if drawn < test + min(recipe.valid_share, enough) else "train"


def cut_pieces(
    document: Document, units: Sequence[Unit], names: dict[int, SplitName]
) -> list[Piece]:
    """The parts of a document, each with its split; neighbours of one split are one piece.

    Args:
        document: any.
        units: its units.
        names: the split of every unit.
    """
    parts = sorted((b.start, b.end, names[unit.number]) for unit in units for b in unit.blocks)
    pieces: list[Piece] = []
    for name, run in itertools.groupby(parts, key=lambda part: part[2]):
        text = "".join(document.text[start:end] for start, end, _ in run)
        pieces.append(Piece(split=name, text=text))
    pieces += [
        Piece(split=names[unit.number], text=_join_turns(unit.conversation))
        for unit in units
        if unit.conversation
    ]
    return [piece for piece in pieces if piece.text.strip()]


def cut_whole(document: Document, name: SplitName) -> list[Piece]:
    """A document that goes into one split as a whole: its text, and every conversation in it."""
    texts = [document.text, *map(_join_turns, document.conversations)]
    return [Piece(split=name, text=text) for text in texts if text.strip()]


def _join_turns(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn.content for turn in turns)
