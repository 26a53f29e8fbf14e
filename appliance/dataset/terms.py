"""Terms of the domain: words that the corpus uses and general text does not.

They are to be guessed from what stands before them in documents that were not trained on (a cloze
test). Each place where such a term stands becomes an example whose labels are the tokens of the
term.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from appliance.dataset.divide import Piece
from appliance.dataset.general_text import read_sample
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import Example, Marks, SplitWriter
from appliance.values import Document

COUNTED_CHARACTERS = 20_000_000
"""Training text in which words are counted, about: their number stays small."""

_GOLDEN = 2_654_435_769
"""Multiples of it, modulo 2 ** 32, are spread evenly (Knuth, TAOCP 3, section 6.4)."""

MIN_COUNT = 5
"""Times a term stands in the training text at least: rarer ones cannot be learned."""

PLACES_PER_TERM = 3
"""Places of one term that are asked for at most."""

CONTEXT_CHARACTERS = 400
"""Text before a place that is shown."""

_WORD = re.compile(r"(?<= )[A-Za-z][A-Za-z-]{3,}(?![\w-])")


def write_terms(
    documents_file: Path,
    cut: Callable[[Document], list[Piece]],
    tokenizer: TextTokenizer,
    vocab_size: int,
    num_places: int,
    folder: Path,
) -> Marks:
    """Find terms and write the places where they are asked for, as a split.

    Args:
        documents_file: JSON lines of Document.
        cut: which part of a document goes into which split.
        tokenizer: of the base.
        vocab_size: of the base.
        num_places: asked for at most.
        folder: of the split.

    Returns:
        What was written; nothing where the corpus has no terms of its own.
    """
    terms = choose_terms(read_training(documents_file, cut), read_sample("replay"))
    with SplitWriter(folder, vocab_size) as writer:
        for example in _ask(_read_pieces(documents_file, cut, "test"), terms, tokenizer):
            if writer.marks.num_examples >= num_places:
                break
            writer.append(example)
        writer.finish()
    return writer.marks


def choose_terms(texts: Iterable[str], general: Iterable[str]) -> set[str]:
    """Words that stand often enough in the texts and never in general text, in lower case."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word.lower() for word in _WORD.findall(text))
    known = {word.lower() for text in general for word in re.findall(r"[A-Za-z-]+", text)}
    return {word for word, count in counts.items() if count >= MIN_COUNT and word not in known}


def read_training(documents_file: Path, cut: Callable[[Document], list[Piece]]) -> Iterator[str]:
    """Training text in which words are counted: of a large corpus, of documents evenly spread.

    Args:
        documents_file: JSON lines of Document.
        cut: which part of a document goes into which split.
    """
    share = COUNTED_CHARACTERS / max(COUNTED_CHARACTERS, documents_file.stat().st_size)
    for number, text in _read_pieces(documents_file, cut, "train"):
        if number * _GOLDEN % 2**32 < share * 2**32:
            yield text


def _read_pieces(
    documents_file: Path, cut: Callable[[Document], list[Piece]], split: str
) -> Iterator[tuple[int, str]]:
    with documents_file.open(encoding="utf-8") as lines:
        for line in lines:
            document = Document.model_validate_json(line)
            for piece in cut(document):
                if piece.split == split:
                    yield document.number, piece.text


def _ask(
    pieces: Iterable[tuple[int, str]], terms: set[str], tokenizer: TextTokenizer
) -> Iterator[Example]:
    asked: Counter[str] = Counter()
    for document, text in pieces:
        for place in _WORD.finditer(text):
            word = place[0].lower()
            if word not in terms or asked[word] >= PLACES_PER_TERM:
                continue
            start = place.start() - 1  # with the space before it: it belongs to the first token
            shown = text[max(0, start - CONTEXT_CHARACTERS) : start]
            context, answer = tokenizer.encode([shown, text[start : place.end()]])
            if not context.ids:
                continue
            asked[word] += 1
            yield Example(
                token_ids=context.ids + answer.ids,
                supervised=[False] * len(context.ids) + [True] * len(answer.ids),
                document=document,
                num_bytes=len(text[start : place.end()].encode()),
            )
