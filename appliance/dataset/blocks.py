"""Blocks of a document: headings, paragraphs, list items, table rows and code, with their places.

Blocks tile the text: each reaches to the start of the next, so that every character, and with it
every token, belongs to exactly one block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from semantic_text_splitter import MarkdownSplitter
from tokenizers import Tokenizer

from appliance.dataset.tokenizer import TextTokenizer

Kind = Literal["heading", "text", "row", "code"]

_HEADING = re.compile(r"^(#{1,6}) (.+)$")
_RULE = re.compile(r"^\|( --- \|)+$")
_ITEM = re.compile(r"^\s*(-|\d{1,3}[.)]|[a-zA-Z][.)]) ")
_FIELD = re.compile(r"^- [^:;|]{1,60}: [^;]+;")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A piece of a document that is better not cut.

    Attributes:
        kind: heading; paragraph or list item; row of a table; fenced code.
        start: first character.
        end: first character of the next block.
        num_tokens: tokens that start inside.
        path: title and headings above it, outermost first, itself not included.
        header: of the table a row belongs to; empty for its first rows, which contain it.
        level: of a heading, else 0.
    """

    kind: Kind
    start: int
    end: int
    num_tokens: int
    path: tuple[str, ...]
    header: str = ""
    level: int = 0


@dataclass(kw_only=True, slots=True)
class _Draft:
    kind: Kind
    start: int
    header: str = ""
    level: int = 0
    path: tuple[str, ...] = ()


def split_blocks(text: str, title: str, tokenizer: TextTokenizer, max_tokens: int) -> list[Block]:
    """Cut a document into blocks of at most `max_tokens`; longer ones are cut at sentences."""
    drafts = _add_paths(_find_drafts(text), text, title)
    token_starts = tokenizer.start_offsets(text)
    blocks = _close_drafts(drafts, len(text), token_starts)
    if all(block.num_tokens <= max_tokens for block in blocks):
        return blocks
    pieces: list[_Draft] = []
    for draft, block in zip(drafts, blocks, strict=True):
        if block.num_tokens <= max_tokens:
            pieces.append(draft)
            continue
        splitter = _make_splitter(tokenizer.plain, max_tokens)
        for number, (offset, _) in enumerate(splitter.chunk_indices(text[block.start : block.end])):
            kind: Kind = "text" if number and block.kind != "code" else block.kind
            start = block.start + (offset if number else 0)
            pieces.append(_Draft(kind=kind, start=start, path=draft.path))
    return _close_drafts(pieces, len(text), token_starts)


@lru_cache(maxsize=1)
def _make_splitter(tokenizer: Tokenizer, max_tokens: int) -> MarkdownSplitter:
    """One for all documents: each takes 66 ms to make, and 0.35 MB that never come back."""
    return MarkdownSplitter.from_huggingface_tokenizer(tokenizer, max_tokens)


def is_record(line: str) -> bool:
    """Whether a line is a record that a table or a JSON file was turned into."""
    return bool(_FIELD.match(line))


def _find_drafts(text: str) -> list[_Draft]:
    drafts: list[_Draft] = []
    position, in_code, open_paragraph = 0, False, False
    table_start = -1
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\n")
        heading = _HEADING.match(bare)
        is_fence = bare.startswith(("```", "~~~"))
        if in_code or is_fence:
            if not in_code:
                drafts.append(_Draft(kind="code", start=position))
            in_code = in_code != is_fence
            open_paragraph = False
        elif not bare.strip():
            open_paragraph, table_start = False, -1
        elif heading:
            drafts.append(_Draft(kind="heading", start=position, level=len(heading[1])))
            open_paragraph = False
        elif bare.startswith("| "):
            table_start = position if table_start < 0 else table_start
            if _belongs_to_header(text, table_start, position):
                if position == table_start:
                    drafts.append(_Draft(kind="row", start=position))
            else:
                header = _read_header(text, table_start)
                drafts.append(_Draft(kind="row", start=position, header=header))
            open_paragraph = False
        elif not open_paragraph or _ITEM.match(bare):
            drafts.append(_Draft(kind="text", start=position))
            open_paragraph = True
        position += len(line)
    return drafts


def _belongs_to_header(text: str, table_start: int, position: int) -> bool:
    """The header, the line of dashes and the first row stay together."""
    return (text.count("\n", table_start, position) <= 2 and _has_rule(text, table_start)) or (
        position == table_start
    )


def _has_rule(text: str, table_start: int) -> bool:
    lines = text[table_start : table_start + 20_000].split("\n", 2)
    return len(lines) > 1 and bool(_RULE.match(lines[1]))


def _read_header(text: str, table_start: int) -> str:
    if not _has_rule(text, table_start):
        return ""
    return "\n".join(text[table_start : table_start + 20_000].split("\n", 2)[:2])


def _add_paths(drafts: list[_Draft], text: str, title: str) -> list[_Draft]:
    stack: list[tuple[int, str]] = []
    for draft in drafts:
        if draft.level:
            line = text[draft.start :].split("\n", 1)[0]
            stack = [(level, name) for level, name in stack if level < draft.level]
        draft.path = _join_path(title, [name for _, name in stack])
        if draft.level:
            name = line.lstrip("# ").strip()
            if draft.path == (title,) and name.casefold() == title.casefold():
                draft.path = ()
            stack.append((draft.level, name))
    return drafts


def _join_path(title: str, headings: Sequence[str]) -> tuple[str, ...]:
    if not title or (headings and headings[0].casefold() == title.casefold()):
        return tuple(headings)
    return (title, *headings)


def _close_drafts(
    drafts: list[_Draft], length: int, token_starts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> list[Block]:
    """Blocks that tile the text from its first character to its last."""
    starts = [draft.start for draft in drafts]
    if starts:
        starts[0] = 0
    borders = [*starts, length]
    counts = np.diff(np.searchsorted(token_starts, borders)).tolist()
    return [
        Block(
            kind=draft.kind,
            start=borders[number],
            end=borders[number + 1],
            num_tokens=counts[number],
            path=draft.path,
            header=draft.header,
            level=draft.level,
        )
        for number, draft in enumerate(drafts)
    ]
