"""What is asked of a model, and how, in each way of answering: prompts and answers to choose from.

Search sees what it would see when it is used: all documents, held-out ones included, for search
needs no training. Tuning saw training documents only. That is unequal, and it is the comparison a
company faces: a search is told of a new document at once, a model is not. Only the conversation
that a question was taken from is hidden from search: a new ticket is not in the archive yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from appliance.dataset.template import ChatTemplate
from appliance.dataset.tokenizer import TextTokenizer
from appliance.search.cut import cut_documents
from appliance.search.index import Found, Index, build_index
from appliance.search.quote import quote_passages
from appliance.values import Document, HeldOutQuestion, Turn, Way

MAX_PASSAGES = 3
"""Shown with a question: as many as a bundle that carries an index shows."""

NUM_OPTIONS = 5
"""Answers to choose from, the right one among them: more cost more and tell little more."""

OPTION_TOKENS = 32
"""Of an answer that are looked at: its first words tell it from others."""

INSTRUCTION = (
    "You answer questions about the documents of an organisation. Answer shortly and exactly. "
    "If you do not know the answer, say: I do not know."
)
"""Of the ways that a person can have without training."""

UNANSWERABLE = (
    "What is the name of the lighthouse keeper of Quorvale?",
    "How many brass sextants are kept in the Ostrellin vault?",
    "Which colour is the third seal of the Marrowick treaty?",
    "When was the Tessaline funicular repainted?",
)
"""Questions about what does not exist; names made up for this list."""

_NEUTRAL = "Question:"
"""What a model is asked to see how likely it finds an answer when nothing is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Q questions, each with O answers to choose from.

    Attributes:
        questions: what is asked.
        documents: number of the document of each: what resampling draws.
        options: token ids of the answers to choose from; the first is the right one.
        found: passages that a search shows with each question.
        prompts: token ids of each question in each way; UNANSWERABLE follow at the end.
        neutral: token ids of a prompt that asks nothing.
        num_passages: in the index that was searched.
    """

    questions: tuple[HeldOutQuestion, ...]
    documents: tuple[int, ...]
    options: tuple[tuple[tuple[int, ...], ...], ...]
    found: tuple[tuple[Found, ...], ...]
    prompts: dict[Way, tuple[tuple[int, ...], ...]]
    neutral: tuple[int, ...]
    num_passages: int

    def count_tokens(self, number: int) -> int:
        """Tokens that all ways read to choose an answer to the first so many questions."""
        asked = sum(len(prompt) for way in self.prompts.values() for prompt in way[:number])
        told = sum(len(option) for options in self.options[:number] for option in options)
        return asked + len(self.prompts) * told


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """Turns a question into the tokens that a base reads.

    Attributes:
        room: tokens of a prompt at most.
        shots: token ids of solved examples of the training split, for the prompt alone.
        system: instruction that stands before every question, as it did in training.
    """

    tokenizer: TextTokenizer
    template: ChatTemplate
    room: int
    shots: tuple[tuple[int, ...], ...] = ()
    system: str = ""

    def write(self, question: str, way: Way, passages: Sequence[Found]) -> tuple[int, ...]:
        """Token ids of a question in one way.

        As many passages are shown as there is room for, and as many solved examples.
        """
        if way in ("search", "tuned+search"):
            for number in range(len(passages), 0, -1):
                ids = self.encode(quote_passages(question, passages[:number]))
                if len(ids) <= self.room:
                    return ids
        if way == "prompt":
            ids = self._put_shots_before(self.encode(f"{INSTRUCTION}\n\n{question}"))
        else:
            ids = self.encode(question)
        return ids if len(ids) <= self.room else ids[-self.room :]

    def encode(self, question: str) -> tuple[int, ...]:
        """Token ids of one question in the chat template, up to where the answer begins."""
        system = [Turn(role="system", content=self.system)] if self.system else []
        text = self.template.render_prompt([*system, Turn(role="user", content=question)])
        return tuple(self.tokenizer.chat.encode(text, add_special_tokens=False).ids)

    def encode_option(self, answer: str) -> tuple[int, ...]:
        """First token ids of an answer, as plain text."""
        ids = self.tokenizer.plain.encode(answer, add_special_tokens=False).ids
        return tuple(ids[:OPTION_TOKENS])

    def _put_shots_before(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Solved conversations stand whole before the one to be answered."""
        before: tuple[int, ...] = ()
        for shot in self.shots:
            if len(before) + len(shot) + len(ids) <= self.room // 2:
                before += shot
        return before + ids


def write_sheet(
    questions: Sequence[HeldOutQuestion], documents_file: Path, index_file: Path, writer: Writer
) -> Sheet:
    """Build the search index and write down everything that will be asked.

    Args:
        questions: from held-out documents.
        documents_file: all documents, JSON lines.
        index_file: where the index is written.
        writer: of the base.
    """
    asked = {question.question.casefold() for question in questions}
    hidden: set[str] = set()
    pieces = cut_documents(_hide_asked(_read_documents(documents_file), asked, hidden))
    num_passages = build_index(index_file, pieces)
    texts = [*(question.question for question in questions), *UNANSWERABLE]
    with closing(Index(index_file)) as index:
        found = [tuple(index.find(text, MAX_PASSAGES)) for text in texts]
    ways: tuple[Way, ...] = ("base", "prompt", "search", "tuned", "tuned+search")
    return Sheet(
        questions=tuple(questions),
        documents=number_documents(questions, hidden),
        options=choose_options(questions, writer),
        found=tuple(found),
        prompts={
            way: tuple(
                writer.write(text, way, shown) for text, shown in zip(texts, found, strict=True)
            )
            for way in ways
        },
        neutral=writer.encode(_NEUTRAL),
        num_passages=num_passages,
    )


def choose_options(
    questions: Sequence[HeldOutQuestion], writer: Writer
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For each question its answer, then answers of others that begin otherwise.

    Half of the others come from the same file where it has so many: the topic alone does not give
    the answer away.
    """
    encoded = [writer.encode_option(question.answer) for question in questions]
    chosen = []
    for number, question in enumerate(questions):
        order = list(range(len(questions)))
        Random(number).shuffle(order)
        near = [other for other in order if questions[other].source == question.source]
        ranked = dict.fromkeys(
            encoded[other] for other in [*near[: NUM_OPTIONS // 2], *order] if encoded[other]
        )
        others = [option for option in ranked if option != encoded[number]]
        chosen.append((encoded[number], *others[: NUM_OPTIONS - 1]))
    return tuple(chosen)


def number_documents(questions: Sequence[HeldOutQuestion], hidden: set[str]) -> tuple[int, ...]:
    """Number of the document of each question; a conversation is a document of its own."""
    keys = [
        question.question.casefold()
        if question.question.casefold() in hidden
        else f"file {question.source}"
        for question in questions
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return tuple(numbers[key] for key in keys)


def _read_documents(path: Path) -> Iterator[Document]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Document.model_validate_json(line)


def _hide_asked(
    documents: Iterable[Document], asked: set[str], hidden: set[str]
) -> Iterator[Document]:
    """Documents without the conversations that the questions were taken from.

    What was hidden is put into `hidden`, folded.
    """
    for document in documents:
        kept = []
        for turns in document.conversations:
            opening = next((t.content.casefold() for t in turns if t.role == "user"), "")
            if opening in asked:
                hidden.add(opening)
            else:
                kept.append(turns)
        yield document.model_copy(update={"conversations": tuple(kept)})
