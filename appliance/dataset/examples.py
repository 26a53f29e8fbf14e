"""The examples of one split, and what became of the tokens of its units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from appliance.dataset.conversations import make_conversation_examples
from appliance.dataset.pairs import Pair, find_pairs, rank_made
from appliance.dataset.passages import Passage, make_passages
from appliance.dataset.questions import Candidate
from appliance.dataset.template import ChatTemplate
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import Example
from appliance.dataset.units import Unit
from appliance.values import Document, Turn

_MAX_REPEATED_SHARE = 0.25
"""Of the tokens of passages, that answers may repeat. Source: a prototype in which answers made
from every heading turned one epoch silently into two (clef handbook, 21k tokens became 34k)."""
_HEADINGS_ALONE = "headings that nothing stands below"
_CUT_ANSWER = "answers longer than an example were cut at a sentence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long examples may be, in tokens, and which pairs are made.

    Attributes:
        passage: of a passage, start token included.
        example: of any example.
        pairs: "auto", "none" or "headings".
        seed: decides which made pairs are taken.
    """

    passage: int
    example: int
    pairs: Literal["auto", "none", "headings"]
    seed: int


@dataclass(kw_only=True, slots=True)
class Account:
    """Tokens of one document in one split."""

    num_tokens: int = 0
    num_used: int = 0
    num_dropped: int = 0
    num_repeated: int = 0
    reasons: set[str] = field(default_factory=set)

    def drop(self, num_tokens: int, reason: str) -> None:
        """Count tokens that are in no example."""
        if num_tokens > 0:
            self.num_dropped += num_tokens
            self.reasons.add(reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitExamples:
    """What a split is made of.

    Attributes:
        examples: in the order of their units.
        accounts: by number of the document.
        candidates: questions with their answers.
        num_units: units of the split.
    """

    examples: tuple[Example, ...]
    accounts: dict[int, Account]
    candidates: tuple[Candidate, ...]
    num_units: int


@dataclass(kw_only=True, slots=True)
class _Choice:
    """Pairs that become examples; of `alone`, the section leaves the passages."""

    pairs: list[Pair] = field(default_factory=list)
    alone: list[Pair] = field(default_factory=list)


def make_split(
    units: Sequence[Unit],
    documents: dict[int, Document],
    tokenizer: TextTokenizer,
    template: ChatTemplate,
    limits: Limits,
) -> SplitExamples:
    """Make the examples of the units of one split."""
    accounts: dict[int, Account] = defaultdict(Account)
    found = _find_all(units, documents, tokenizer, limits)
    choices = _choose_pairs(units, found, documents, limits)
    maker = _Maker(documents=documents, tokenizer=tokenizer, template=template, limits=limits)
    for unit in units:
        account = accounts[unit.document]
        account.num_tokens += unit.num_tokens
        if unit.conversation:
            maker.add_conversation(unit, account)
        else:
            maker.add_text(unit, choices[unit.number], account)
    made = [
        Candidate(
            question=pair.question,
            answer=pair.answer,
            source=documents[unit.document].source,
            is_real=pair.is_real,
        )
        for unit in units
        for pair in found.get(unit.number, [])
    ]
    return SplitExamples(
        examples=tuple(maker.examples),
        accounts=dict(accounts),
        candidates=(*maker.candidates, *made),
        num_units=len(units),
    )


def _find_all(
    units: Sequence[Unit], documents: dict[int, Document], tokenizer: TextTokenizer, limits: Limits
) -> dict[int, list[Pair]]:
    if limits.pairs == "none":
        return {}
    found = {}
    for unit in units:
        if unit.blocks:
            document = documents[unit.document]
            found[unit.number] = find_pairs(
                document.text, unit.blocks, document.title, tokenizer, limits.example // 2
            )
    return found


def _choose_pairs(
    units: Sequence[Unit],
    found: dict[int, list[Pair]],
    documents: dict[int, Document],
    limits: Limits,
) -> dict[int, _Choice]:
    """Real pairs all, made ones while answers repeat no more than their share of the passages.

    Once real pairs alone have used up the share, the rest of them leave the passages.
    """
    choices: dict[int, _Choice] = {unit.number: _Choice() for unit in units}
    in_passages = sum(unit.num_tokens for unit in units if not unit.conversation)
    repeated = 0
    everything = limits.pairs == "headings"
    ranked = sorted(
        ((unit, pair) for unit in units for pair in found.get(unit.number, [])),
        key=lambda item: (
            not item[1].is_real,
            rank_made(documents[item[0].document].source, item[1], limits.seed),
        ),
    )
    for unit, pair in ranked:
        has_room = repeated + pair.num_tokens <= _MAX_REPEATED_SHARE * in_passages
        if everything or has_room:
            choices[unit.number].pairs.append(pair)
            repeated += pair.num_tokens
        elif pair.is_real:
            choices[unit.number].alone.append(pair)
            in_passages -= pair.num_tokens
    return choices


@dataclass(kw_only=True, slots=True)
class _Maker:
    """Collects examples and question candidates of a split."""

    documents: dict[int, Document]
    tokenizer: TextTokenizer
    template: ChatTemplate
    limits: Limits
    examples: list[Example] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)

    def add_conversation(self, unit: Unit, account: Account) -> None:
        """Examples of a chat, a ticket or a question-answer row."""
        made = make_conversation_examples(
            unit.conversation, unit.number, self.template, self.tokenizer, self.limits.example
        )
        self.examples += made.examples
        account.num_used += made.num_used
        account.num_repeated += made.num_repeated
        account.drop(unit.num_tokens - made.num_used, made.reason)
        turns = [turn for turn in unit.conversation if turn.role != "system"]
        self.candidates.append(
            Candidate(
                question=turns[0].content,
                answer=turns[1].content,
                source=self.documents[unit.document].source,
                is_real=True,
            )
        )

    def add_text(self, unit: Unit, choice: _Choice, account: Account) -> None:
        """Passages of a text, then the pairs made from it."""
        alone = {block.start for pair in choice.alone for block in pair.blocks}
        blocks = [block for block in unit.blocks if block.start not in alone]
        text = self.documents[unit.document].text
        room = self.limits.passage - (self.tokenizer.bos_id is not None)
        made = make_passages(text, blocks, self.tokenizer, room)
        for passage in made.passages:
            self.examples.append(_encode_passage(passage, unit.number, self.tokenizer))
            account.num_used += passage.num_tokens
            account.num_repeated += passage.num_lead_tokens
        account.drop(made.num_dropped, _HEADINGS_ALONE)
        for pair in choice.pairs:
            account.num_repeated += self._add_pair(pair, unit)
        for pair in choice.alone:
            num_kept = self._add_pair(pair, unit)
            num_used = pair.num_tokens - pair.num_cut if num_kept else 0
            account.num_used += num_used
            account.drop(pair.num_tokens - num_used, _CUT_ANSWER)

    def _add_pair(self, pair: Pair, unit: Unit) -> int:
        """The tokens of the document that a pair's example holds."""
        turns = (
            Turn(role="user", content=pair.question),
            Turn(role="assistant", content=pair.answer),
        )
        made = make_conversation_examples(
            turns, unit.number, self.template, self.tokenizer, self.limits.example
        )
        self.examples += made.examples
        if not made.examples:
            return 0
        heading = pair.blocks[0].num_tokens if pair.is_real and len(pair.blocks) > 1 else 0
        return pair.num_answer_tokens + heading


def _encode_passage(passage: Passage, document: int, tokenizer: TextTokenizer) -> Example:
    """Its own text is a label; the start token and the lead, which is text repeated, are not."""
    ids = list(passage.encoding.ids)
    lead = len(passage.lead)
    supervised = [start >= lead for start, _ in passage.encoding.offsets]
    if tokenizer.bos_id is not None:
        ids, supervised = [tokenizer.bos_id, *ids], [False, *supervised]
    return Example(
        token_ids=ids,
        supervised=supervised,
        document=document,
        num_bytes=len(passage.body.encode()),
    )
