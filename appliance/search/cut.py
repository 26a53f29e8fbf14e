"""Passages for search: pieces of documents that a question can be answered from.

They are cut by characters and not by a base's tokens, so that one index serves every base.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from semantic_text_splitter import MarkdownSplitter

from appliance.values import Document

MAX_CHARACTERS = 1_000
"""Of a passage: two or three fit into the context of a small base beside question and answer."""
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.M)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A passage before it is in an index.

    Attributes:
        source: path of its file, relative to the documents folder.
        title: of the document.
        heading: headings that it stands below, outermost first, joined by " › ".
        text: its own text.
    """

    source: str
    title: str
    heading: str
    text: str


@cache
def _splitter(max_characters: int) -> MarkdownSplitter:
    return MarkdownSplitter(max_characters)


def cut_documents(
    documents: Iterable[Document], max_characters: int = MAX_CHARACTERS
) -> Iterator[Piece]:
    """Passages of documents, in order; of a conversation, each answer with its question."""
    for document in documents:
        yield from _cut_text(document, max_characters)
        for turns in document.conversations:
            text = "\n".join(turn.content for turn in turns if turn.role != "system")
            for start in range(0, len(text), max_characters):
                yield Piece(
                    source=document.source,
                    title=document.title,
                    heading="",
                    text=text[start : start + max_characters],
                )


def _cut_text(document: Document, max_characters: int) -> Iterator[Piece]:
    headings = [
        (match.start(), len(match[1]), match[2].strip())
        for match in _HEADING.finditer(document.text)
    ]
    above: list[tuple[int, str]] = []
    seen = 0
    for start, text in _splitter(max_characters).chunk_indices(document.text):
        while seen < len(headings) and headings[seen][0] <= start:
            _, level, name = headings[seen]
            above = [(other, title) for other, title in above if other < level] + [(level, name)]
            seen += 1
        if any(map(str.isalnum, text)):
            yield Piece(
                source=document.source,
                title=document.title,
                heading=" › ".join(name for _, name in above),
                text=text.strip(),
            )
