"""Which kinds of pairs there are, and which drafts of theirs are good enough.

A kind is added by a file with a maker, a row in `MAKERS`, and its name in `PairKind` (`values/`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from appliance.dataset.blocks import Block
from appliance.dataset.pairing.asked import find_asked
from appliance.dataset.pairing.cloze import find_cloze
from appliance.dataset.pairing.definitions import find_definitions
from appliance.dataset.pairing.drafts import Draft, Maker, make_page
from appliance.dataset.pairing.headings import find_headings
from appliance.dataset.pairing.rows import find_rows
from appliance.dataset.pairing.steps import find_steps
from appliance.dataset.sentences import cut_at_sentence
from appliance.dataset.tokenizer import TextTokenizer
from appliance.values import PairKind

MAKERS: dict[PairKind, Maker] = {
    "asked": find_asked,
    "steps": find_steps,
    "headings": find_headings,
    "definitions": find_definitions,
    "rows": find_rows,
    "cloze": find_cloze,
}
"""In the order in which they may take a section: the more telling question first."""

_TEMPLATE_CODE = re.compile(r"\{%|\{\{|%\}|\}\}")
_LEANS_ON_PAGE = re.compile(
    r"\A[^.!?\n]*\b(?:this|previous|next|preceding) (?:section|chapter|video|module)\b", re.I
)
"""A first sentence about the page that the answer was taken from."""
_POINTS_AWAY = re.compile(
    r"\b(?:watch (?:this|the)(?: \w+)? video|above section|section above"
    r"|let's (?:\w+ )?(?:dig|discuss|examine|look|turn))\b",
    re.I,
)
_ENDS_WITH_SOURCE = re.compile(r"(?:retrieved from|https?://)[^\n]*\Z", re.I)
_MIN_ANSWER_TOKENS = 8
"""Of a whole section that a made question asks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A question and its answer from one place of a document.

    Attributes:
        kind: which maker found it.
        question: as a person would ask it.
        answer: words of the document, or a sentence made from them.
        start: first character of the place.
        end: the character after it.
        blocks: the heading and the blocks of an answer that is a section; else empty.
        num_cut: tokens of the section that are not in the answer.
        num_answer_tokens: tokens of the answer.
    """

    kind: PairKind
    question: str
    answer: str
    start: int
    end: int
    blocks: tuple[Block, ...]
    num_cut: int
    num_answer_tokens: int

    @property
    def is_real(self) -> bool:
        """Whether the document asks the question itself."""
        return self.kind == "asked"

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole section, heading included; of the answer where it is a part."""
        return sum(block.num_tokens for block in self.blocks) or self.num_answer_tokens


def find_pairs(
    text: str,
    blocks: Sequence[Block],
    title: str,
    tokenizer: TextTokenizer,
    max_tokens: int,
    kinds: Collection[PairKind] = ("asked", "steps", "headings"),
) -> list[Pair]:
    """Every pair that the blocks of a unit offer.

    Args:
        text: of the document.
        blocks: of the unit.
        title: of the document, for made questions.
        tokenizer: of the base.
        max_tokens: of an answer; longer ones are cut if real, else left out.
        kinds: that are wanted.
    """
    page = make_page(text, title, blocks)
    pairs: list[Pair] = []
    sections: set[int] = set()
    asked: set[str] = set()
    for kind, make in MAKERS.items():
        for draft in make(page) if kind in kinds else ():
            key = draft.question.casefold()
            if key in asked or (draft.blocks and draft.blocks[0].start in sections):
                continue
            pair = _settle(kind, draft, tokenizer, max_tokens)
            if pair is not None:
                asked.add(key)
                sections |= {block.start for block in draft.blocks[:1]}
                pairs.append(pair)
    return pairs


def rank_made(source: str, pair: Pair, seed: int) -> bytes:
    """A fixed random rank: which made pairs are taken when there is room for some only."""
    return hashlib.blake2b(f"{seed} {source} {pair.question}".encode(), digest_size=8).digest()


def deal_kinds(pairs: Sequence[tuple[bytes, Pair]]) -> Iterator[int]:
    """Numbers of made pairs in the order in which they are taken: every kind gets as many tokens.

    Args:
        pairs: each with its rank.
    """
    piles: dict[PairKind, list[int]] = {}
    for number in sorted(range(len(pairs)), key=lambda n: pairs[n][0], reverse=True):
        piles.setdefault(pairs[number][1].kind, []).append(number)
    spent = dict.fromkeys(sorted(piles), 0)
    while spent:
        kind = min(spent, key=lambda name: spent[name])
        number = piles[kind].pop()
        spent[kind] += pairs[number][1].num_tokens
        if not piles[kind]:
            del spent[kind]
        yield number


def _settle(kind: PairKind, draft: Draft, tokenizer: TextTokenizer, max_tokens: int) -> Pair | None:
    """The pair of a draft; none if the question or the answer is of no use."""
    is_real = kind == "asked"
    kept = cut_at_sentence(draft.answer, tokenizer, max_tokens).strip()
    num_kept, *rest = tokenizer.count([kept] if kept == draft.answer else [kept, draft.answer])
    num_cut = max(0, rest[0] - num_kept) if rest else 0
    least = _MIN_ANSWER_TOKENS if draft.blocks and not is_real else 1
    is_part = num_cut > (num_kept if is_real else 0)
    if not draft.question or num_kept < least or is_part or not _stands_alone(kept, is_real):
        return None
    return Pair(
        kind=kind,
        question=draft.question,
        answer=kept,
        start=draft.start,
        end=draft.end,
        blocks=draft.blocks,
        num_cut=num_cut,
        num_answer_tokens=num_kept,
    )


def _stands_alone(answer: str, is_real: bool) -> bool:
    """Whether an answer says something without the page that it was taken from."""
    leans = (_LEANS_ON_PAGE, _POINTS_AWAY, _ENDS_WITH_SOURCE)
    if not any(map(str.isalnum, answer)) or any(found.search(answer) for found in leans):
        return False
    return is_real or not (answer.endswith(":") or _TEMPLATE_CODE.search(answer))
