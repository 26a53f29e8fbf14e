"""Questions that no document answers, so that a model learns to say so.

Two sorts, both checked by words, over all documents whatever their split. What a document says
about the heading of another one, if no document that speaks of the first has a word of that
heading. And what people ask of a company, if no document has one of the words that an answer would
need. Only that words are absent is taken from other splits, never a word of theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from appliance.dataset.pairing.headings import names_something
from appliance.dataset.pairing.stranger import STRANGERS
from appliance.dataset.pairing.words import find_content, list_words, stem
from appliance.values import Document

_MAX_TITLES = 12
"""Documents that are tried for a heading before it is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """What a unit could be asked about.

    Attributes:
        unit: its number.
        document: number of its document.
        headings: of its sections.
    """

    unit: int
    document: int
    headings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A question without an answer.

    Attributes:
        question: as a person would ask it.
        unit: that it asks about; below 0 if about none.
        document: of that unit; none likewise.
    """

    question: str
    unit: int
    document: int | None


Places = Mapping[str, frozenset[int]]
"""Numbers of the documents that have a word, by the stem of the word."""


def find_refusals(
    topics: Sequence[Topic],
    documents: Mapping[int, Document],
    split: str,
    number: int,
    seed: int,
) -> list[Refusal]:
    """Refusals of one split, of both sorts in turn.

    Args:
        topics: of the units of the split.
        documents: all of the corpus, by number.
        split: its name; a question of the second sort is asked in one split only.
        number: wanted.
        seed: decides which.
    """
    if number <= 0:
        return []
    titles = {documents[topic.document].title: topic for topic in topics}
    own = {title: topic for title, topic in titles.items() if names_something(title, "")}
    headings = [heading for topic in topics for heading in topic.headings]
    wanted = {
        word
        for text in (*own, *headings, *(words for _, words in STRANGERS))
        for word in find_content(text)
    }
    places = _find_places(documents.values(), wanted)
    general = (r for r in _ask_strangers(places, seed) if draw_split(r.question) == split)
    foreign = _ask_across(own, headings, places, seed)
    turns = chain.from_iterable(zip_longest(foreign, general))
    return [refusal for refusal, _ in zip((r for r in turns if r), range(number), strict=False)]


def list_unanswered(documents: Iterable[Document], seed: int) -> list[Refusal]:
    """Questions of the second sort, as far as no document of a large corpus answers them.

    Args:
        documents: of the whole corpus, one after the other.
        seed: decides their order.
    """
    wanted = {word for _, words in STRANGERS for word in find_content(words)}
    said: set[str] = set()
    for document in documents:
        said |= read_words(document) & wanted
    places = {word: frozenset({0} if word in said else ()) for word in wanted}
    return list(_ask_strangers(places, seed))


def read_words(document: Document) -> set[str]:
    """Stems of all words of a document, its title and its conversations."""
    turns = (turn.content for talk in document.conversations for turn in talk)
    words = {word for text in (document.title, document.text, *turns) for word in list_words(text)}
    return {stem(word) for word in words}


def _find_places(documents: Iterable[Document], wanted: set[str]) -> Places:
    places: dict[str, set[int]] = {word: set() for word in wanted}
    for document in documents:
        for word in read_words(document) & wanted:
            places[word].add(document.number)
    return {word: frozenset(numbers) for word, numbers in places.items()}


def _ask_across(
    own: Mapping[str, Topic], headings: Sequence[str], places: Places, seed: int
) -> Iterator[Refusal]:
    """Headings of one document asked of another."""
    titles = sorted(own, key=lambda title: _draw(seed, title))
    for turn, heading in enumerate(sorted(set(headings), key=lambda text: _draw(seed, text))):
        words = find_content(heading)
        if not words or not titles:
            continue
        speaking = frozenset().union(*(places[word] for word in words))
        for step in range(min(_MAX_TITLES, len(titles))):
            title = titles[(turn + step) % len(titles)]
            about = _find_about(title, places)
            if about and not about & speaking and own[title].document not in speaking:
                yield Refusal(
                    question=f"What does {title} say about {heading}?",
                    unit=own[title].unit,
                    document=own[title].document,
                )
                break


def _find_about(title: str, places: Places) -> frozenset[int]:
    """Documents that have every word of a title; none if it has no word that says something."""
    words = find_content(title)
    return frozenset.intersection(*(places[word] for word in words)) if words else frozenset()


def _ask_strangers(places: Places, seed: int) -> Iterator[Refusal]:
    for number, (question, words) in sorted(
        enumerate(STRANGERS), key=lambda item: _draw(seed, item[1][0])
    ):
        if not any(places[word] for word in find_content(words)):
            yield Refusal(question=question, unit=-1 - number, document=None)


def draw_split(question: str) -> str:
    """The split that a question of the second sort belongs to, whatever the corpus."""
    drawn = _draw(0, question)[0] % 8
    return {0: "test", 1: "valid"}.get(drawn, "train")


def _draw(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
