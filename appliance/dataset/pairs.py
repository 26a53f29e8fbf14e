"""Questions and answers that the structure of a document gives away.

Real ones: headings that are questions, and `Q:`/`A:` paragraphs. Made ones: "What does <title> say
about <heading>?" for sections, and only for some, because every token of a made answer stands in a
passage already. Conversations are not made here: they are in the corpus as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.dataset.blocks import Block
from appliance.dataset.tokenizer import TextTokenizer

_ASKED = re.compile(r"^(?:Q|Question)\s*\d{0,3}\s*[:.)]\s*", re.I)
_ANSWERED = re.compile(r"^(?:A|Answer)\s*\d{0,3}\s*[:.)]\s*", re.I | re.M)
_NUMBERING = re.compile(r"^(?:\d{1,3}(?:\.\d{1,3})*[.)]?|[A-Z][.)])\s+")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s|$)")
_MIN_ANSWER_TOKENS = 8
_WITHOUT_CONTENT = frozenset(
    {"introduction", "overview", "contents", "table of contents", "references", "resources"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A question and its answer from one section.

    Attributes:
        question: as a person would ask it.
        answer: words of the document.
        is_real: whether the document asks the question itself.
        blocks: the heading and the blocks of the answer.
        num_cut: tokens of the section that are not in the answer.
        num_answer_tokens: tokens of the document in the answer.
    """

    question: str
    answer: str
    is_real: bool
    blocks: tuple[Block, ...]
    num_cut: int
    num_answer_tokens: int

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole section, heading included."""
        return sum(block.num_tokens for block in self.blocks)


def find_pairs(
    text: str, blocks: Sequence[Block], title: str, tokenizer: TextTokenizer, max_tokens: int
) -> list[Pair]:
    """Every pair that the blocks of a unit offer, real and made.

    Args:
        text: of the document.
        blocks: of the unit.
        title: of the document, for made questions.
        tokenizer: of the base.
        max_tokens: of an answer.
    """
    pairs = []
    for section in _cut_sections(text, blocks):
        pair = _read_section(text, section, title, tokenizer, max_tokens)
        if pair is not None:
            pairs.append(pair)
    return pairs


def rank_made(source: str, pair: Pair, seed: int) -> bytes:
    """A fixed random rank: which made pairs are taken when there is room for some only."""
    return hashlib.blake2b(f"{seed} {source} {pair.question}".encode(), digest_size=8).digest()


def cut_at_sentence(text: str, tokenizer: TextTokenizer, max_tokens: int) -> str:
    """The longest beginning of a text that ends with a paragraph or sentence and fits."""
    (encoding,) = tokenizer.encode([text])
    if len(encoding.ids) <= max_tokens:
        return text
    room = encoding.offsets[max_tokens][0] if max_tokens > 0 else 0
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, room + 1)]
    ends += [match.start() for match in re.finditer(r"\n", text[:room])]
    usable = [end for end in ends if end <= room]
    return text[: max(usable)].rstrip() if usable else ""


def _cut_sections(text: str, blocks: Sequence[Block]) -> Iterator[tuple[Block, ...]]:
    """Runs of blocks below one heading, or from one `Q:` to the next; the rest has no question."""
    section: list[Block] = []
    for block in blocks:
        is_gap = bool(section) and section[-1].end != block.start
        if block.kind == "heading" or is_gap or _ASKED.match(text[block.start : block.end]):
            if len(section) > 1 or (section and section[0].kind != "heading"):
                yield tuple(section)
            section = []
        section.append(block)
    if section:
        yield tuple(section)


def _read_section(
    text: str, section: tuple[Block, ...], title: str, tokenizer: TextTokenizer, max_tokens: int
) -> Pair | None:
    first = section[0]
    beginning = text[first.start : first.end].strip()
    if first.kind == "heading" and len(section) > 1:
        heading = _NUMBERING.sub("", beginning.lstrip("# ").strip())
        is_real = heading.endswith("?")
        question = heading if is_real else _ask_about(title, heading)
        body = section[1:]
        answer = text[body[0].start : body[-1].end].strip()
    elif _ASKED.match(beginning):
        whole = text[first.start : section[-1].end].strip()
        split = _ANSWERED.search(whole)
        if split is None:
            return None
        question = " ".join(_ASKED.sub("", whole[: split.start()]).split())
        is_real, answer = True, whole[split.end() :].strip()
    else:
        return None
    if not question:
        return None
    return _make_pair(question, answer, is_real, section, tokenizer, max_tokens)


def _make_pair(
    question: str,
    answer: str,
    is_real: bool,
    section: tuple[Block, ...],
    tokenizer: TextTokenizer,
    max_tokens: int,
) -> Pair | None:
    kept = cut_at_sentence(answer, tokenizer, max_tokens).strip()
    num_kept, *rest = tokenizer.count([kept] if kept == answer else [kept, answer])
    num_whole = rest[0] if rest else num_kept
    least = 1 if is_real else _MIN_ANSWER_TOKENS
    is_opening = kept.endswith(":") and not is_real
    if num_kept < least or is_opening or not any(map(str.isalnum, kept)):
        return None
    return Pair(
        question=question,
        answer=kept,
        is_real=is_real,
        blocks=section,
        num_cut=max(0, num_whole - num_kept),
        num_answer_tokens=num_kept,
    )


def _ask_about(title: str, heading: str) -> str:
    """The made question of a section; none where the heading says nothing."""
    heading = heading.rstrip(":. ")
    same = heading.casefold() == title.casefold()
    if not title or same or len(heading) < 3 or heading.casefold() in _WITHOUT_CONTENT:
        return ""
    return f"What does {title} say about {heading}?"
