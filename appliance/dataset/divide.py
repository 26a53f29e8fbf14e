"""How a corpus is divided, for `tune` and `pretrain` alike.

So what one of them trained on never judges the other. A small corpus is divided with care
(`split.py`: shares kept at every size, sections where there are hardly any documents). A large one
by a hash of every document's family, which needs no memory, and only as much is kept apart as a
judgement needs; of a document as long as a folder, by a hash of every section, chat and record.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.dataset.split import SplitName
from appliance.dataset.units import Unit
from appliance.recipe import DatasetRecipe
from appliance.values import Corpus, Document, Turn

SMALL_CHARACTERS = 16_000_000
"""Up to this a corpus is divided with care, which takes its units in memory."""

HELD_OUT_CHARACTERS = 4_000_000
"""Of a large corpus, kept apart for each of choices and verdict at most: a million tokens."""

LONG_CHARACTERS = 200_000
"""A document of a large corpus that is longer is divided itself: so at least some twenty parts are
kept apart, and no split hangs on one draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a document that goes into one split.

    Attributes:
        split: which.
        text: clean text; of a conversation, what was said.
    """

    split: SplitName
    text: str


def is_large(corpus: Corpus) -> bool:
    """Whether a corpus is read a part at a time, and divided by draws."""
    return corpus.num_characters > SMALL_CHARACTERS


def is_long(document: Document) -> bool:
    """Whether a document is divided itself, rather than going into one split as a whole."""
    return document.num_characters > LONG_CHARACTERS


def draw_units(
    document: Document, units: Sequence[Unit], recipe: DatasetRecipe, num_characters: int
) -> dict[int, SplitName]:
    """The split of every unit of a document of a large corpus, by its number.

    Args:
        document: any.
        units: of it.
        recipe: shares and seed.
        num_characters: of the whole corpus.
    """
    if not is_long(document):
        return dict.fromkeys(
            (u.number for u in units), draw_split(document, recipe, num_characters)
        )
    keys = {unit.number: _read_unit(document, unit) for unit in units}
    return {unit.number: _draw(keys[unit.family], recipe, num_characters) for unit in units}


def draw_split(document: Document, recipe: DatasetRecipe, num_characters: int) -> SplitName:
    """The split of a document of a large corpus; near duplicates go together."""
    family = document.number if document.family is None else document.family
    return _draw(str(family), recipe, num_characters)


def _draw(key: str, recipe: DatasetRecipe, num_characters: int) -> SplitName:
    digest = hashlib.blake2b(f"{recipe.seed} {key}".encode(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "big") / 2**64
    enough = HELD_OUT_CHARACTERS / num_characters
    test = min(recipe.test_share, enough)
    if drawn < test:
        return "test"
    return "valid" if drawn < test + min(recipe.valid_share, enough) else "train"


def _read_unit(document: Document, unit: Unit) -> str:
    """What a unit says, so that the same words in two long documents go into one split."""
    text = "".join(document.text[block.start : block.end] for block in unit.blocks)
    return " ".join(f"{text} {_join_turns(unit.conversation)}".casefold().split())


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
