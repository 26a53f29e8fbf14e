"""Answers with passages of the documents, for bundles that carry a search index.

Passages stand before the question and nowhere else: a conversation keeps the question as it was
asked, so that it does not grow by what was found for earlier ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BundleError
from appliance.search.index import Found, Index
from appliance.search.quote import name_place, quote_passages
from appliance.serving.prompts import PromptRefusal
from appliance.values import Turn

if TYPE_CHECKING:
    from appliance.serving.engine import Engine

MAX_PASSAGES = 3
"""Before one question: more take longer to read than they help a model of this size."""

_ANSWER_SHARE = 0.25
"""Part of the context that passages leave to the answer, when it may need so much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Citation:
    """A passage that stands before a question.

    Attributes:
        number: by which an answer names it, as [1].
        source: file name, relative to the documents folder.
        place: the same with the headings that it stands below, for people.
        text: of the passage.
    """

    number: int
    source: str
    place: str
    text: str


class Shelf:
    """The search index of a bundle, for any thread: one of its own opens it and asks it.

    SQLite's connection belongs to the thread that made it.
    """

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            BundleError: it is damaged, or of another version of this program.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        try:
            self._index = self._thread.submit(Index, path).result()
        except BundleError:
            self._thread.shutdown()
            raise

    def find(self, question: str, number: int) -> list[Found]:
        """Passages that fit a question, best first.

        Raises:
            BundleError: the file cannot be read any more.
        """
        try:
            return self._thread.submit(self._index.find, question, number).result()
        except sqlite3.DatabaseError as exc:
            raise BundleError(
                "the search index of the bundle cannot be read",
                why=f"the database says: {type(exc).__name__}",
                fix="appliance verify tells whether the bundle is damaged; --no-search does "
                "without it",
            ) from exc

    def close(self) -> None:
        """Close the file and end the thread."""
        self._thread.submit(self._index.close).result()
        self._thread.shutdown()


def put_passages(
    engine: Engine, messages: Sequence[Turn], max_tokens: int
) -> tuple[list[Turn], tuple[Citation, ...]]:
    """Put passages before the last question of a conversation, as many as there is room for.

    Args:
        engine: whose documents are searched; where it has none, nothing is found.
        messages: the conversation.
        max_tokens: of the answer; room is left for them, up to a quarter of the context.

    Returns:
        The conversation as the model is to read it, and what was put into it, best first.
    """
    turns = list(messages)
    place = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=None)
    if engine.shelf is None or place is None:
        return turns, ()
    room = engine.context - min(max_tokens, int(engine.context * _ANSWER_SHARE))
    question = turns[place].content
    chosen: list[Found] = []
    try:
        if len(engine.encode_prompt(turns)) >= room:
            return turns, ()
        for found in engine.shelf.find(question, MAX_PASSAGES):
            trial = _replace(messages, place, quote_passages(question, [*chosen, found]))
            if len(engine.encode_prompt(trial)) <= room:
                chosen.append(found)
                turns = trial
    except PromptRefusal:  # whoever asks the model next is told why
        return list(messages), ()
    citations = (
        Citation(number=number, source=found.source, place=name_place(found), text=found.text)
        for number, found in enumerate(chosen, start=1)
    )
    return turns, tuple(citations)


def _replace(messages: Sequence[Turn], place: int, content: str) -> list[Turn]:
    turns = list(messages)
    turns[place] = Turn(role="user", content=content)
    return turns
