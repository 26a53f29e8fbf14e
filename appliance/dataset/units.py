"""Units: what the split moves as a whole.

A unit is a document; but each conversation, and each block of a long list of records, is a unit of
its own, because a file with 300 tickets is 300 things to know. Units that say the same share a
family, and a family is never divided between training and test.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from appliance.dataset.blocks import Block, is_record
from appliance.values import Document, Turn

_RECORDS_PER_UNIT = 8
_MANY_RECORDS = 20
_MIN_CHARACTERS = 20
_COMMON = 8
"""A paragraph in more documents than this is boilerplate and makes no two of them relatives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A part of a document that goes into one split as a whole.

    Attributes:
        number: position in the corpus.
        family: number of the first unit that says the same; its own if none does.
        document: number of its document.
        blocks: of its text, in order; empty for a conversation.
        conversation: its turns; empty for text.
        talk: number of the conversation in its document; none for text.
        num_tokens: tokens of its text or turns.
    """

    number: int
    family: int
    document: int
    blocks: tuple[Block, ...]
    conversation: tuple[Turn, ...]
    num_tokens: int
    talk: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentBlocks:
    """A document with its blocks and the tokens of its conversations."""

    document: Document
    blocks: tuple[Block, ...]
    conversation_tokens: tuple[int, ...]


def make_units(documents: list[DocumentBlocks], *, by_section: bool) -> list[Unit]:
    """Cut documents into units and find which of them say the same.

    Args:
        documents: with their blocks.
        by_section: whether every section is a unit, for folders of hardly any documents.
    """
    units: list[Unit] = []
    for item in documents:
        groups = _group_by_section(item.blocks) if by_section else _group_blocks(item)
        for blocks in groups:
            units.append(_make_text_unit(len(units), item.document.number, blocks))
        pairs = zip(item.document.conversations, item.conversation_tokens, strict=True)
        for talk, (turns, num_tokens) in enumerate(pairs):
            unit = _make_conversation(len(units), item.document.number, turns, num_tokens)
            units.append(replace(unit, talk=talk))
    texts = {item.document.number: item.document.text for item in documents}
    return _find_families(units, texts, {} if by_section else _list_kin(documents))


def _list_kin(documents: list[DocumentBlocks]) -> dict[int, int]:
    """Documents that near duplicates made a family, each with the number of the first."""
    families = ((item.document.number, item.document.family) for item in documents)
    return {number: family for number, family in families if family is not None}


def _make_text_unit(number: int, document: int, blocks: tuple[Block, ...]) -> Unit:
    return Unit(
        number=number,
        family=number,
        document=document,
        blocks=blocks,
        conversation=(),
        num_tokens=sum(block.num_tokens for block in blocks),
    )


def _make_conversation(
    number: int, document: int, turns: tuple[Turn, ...], num_tokens: int
) -> Unit:
    return Unit(
        number=number,
        family=number,
        document=document,
        blocks=(),
        conversation=turns,
        num_tokens=num_tokens,
    )


def _group_blocks(item: DocumentBlocks) -> Iterator[tuple[Block, ...]]:
    """The whole text, but for long runs of records, which come in eights."""
    text = item.document.text
    rest: list[Block] = []
    runs = groupby(item.blocks, key=lambda block: is_record(text[block.start : block.end]))
    for are_records, run in runs:
        blocks = list(run)
        if not are_records or len(blocks) <= _MANY_RECORDS:
            rest += blocks
            continue
        for start in range(0, len(blocks), _RECORDS_PER_UNIT):
            yield tuple(blocks[start : start + _RECORDS_PER_UNIT])
    if rest:
        yield tuple(rest)


def _group_by_section(blocks: Iterable[Block]) -> Iterator[tuple[Block, ...]]:
    """Sections below headings of any level; without headings, paragraphs in groups."""
    section: list[Block] = []
    for block in blocks:
        has_body = any(other.kind != "heading" for other in section)
        if section and has_body and (block.kind == "heading" or len(section) >= _RECORDS_PER_UNIT):
            yield tuple(section)
            section = []
        section.append(block)
    if section:
        yield tuple(section)


def _find_families(units: list[Unit], texts: dict[int, str], kin: dict[int, int]) -> list[Unit]:
    """Units that share most of their text get the number of the first of them.

    So do the texts of documents of one family (`kin`), which share it in other words.
    """
    shared: dict[bytes, list[int]] = defaultdict(list)
    sizes: Counter[int] = Counter()
    keys_by_unit = [list(_hash_parts(unit, texts)) for unit in units]
    for unit, keys in zip(units, keys_by_unit, strict=True):
        for key, size in keys:
            shared[key].append(unit.number)
            sizes[unit.number] += size
    parent = list(range(len(units)))
    for unit, keys in zip(units, keys_by_unit, strict=True):
        overlap: Counter[int] = Counter()
        for key, size in keys:
            relatives = set(shared[key])
            if size >= sizes[unit.number] // 2:
                overlap[min(relatives)] += size
            elif len(relatives) <= _COMMON:
                overlap.update({other: size for other in relatives})
        for other, size in overlap.items():
            if other < unit.number and 2 * size >= min(sizes[unit.number], sizes[other]):
                parent[_find_root(parent, unit.number)] = _find_root(parent, other)
    first_unit: dict[int, int] = {}
    for unit in units:
        family = None if unit.conversation else kin.get(unit.document)
        if family is not None:
            first = _find_root(parent, first_unit.setdefault(family, unit.number))
            parent[_find_root(parent, unit.number)] = first
    return [replace(unit, family=_find_root(parent, unit.number)) for unit in units]


def _hash_parts(unit: Unit, texts: dict[int, str]) -> Iterator[tuple[bytes, int]]:
    """A hash and a size for every part that can be shared: a block, or the turns of a chat."""
    text = texts[unit.document]
    parts = [text[b.start : b.end] for b in unit.blocks if b.kind != "heading"]
    turns = [turn.content for turn in unit.conversation if turn.role != "system"]
    if turns:
        parts = [*turns, " ".join(turns)]
    for part in parts:
        words = " ".join(part.casefold().split())
        if len(words) >= _MIN_CHARACTERS:
            yield hashlib.blake2b(words.encode(), digest_size=12).digest(), len(words)


def _find_root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number
