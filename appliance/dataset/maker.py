"""Examples of one unit after the other: passages, conversations, pairs, each with its origin."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from appliance.dataset.choosing import Choice
from appliance.dataset.conversations import make_conversation_examples
from appliance.dataset.pairing.find import Pair
from appliance.dataset.pairing.headings import is_subject
from appliance.dataset.pairing.refusals import Refusal, Topic, find_refusals
from appliance.dataset.passages import Passage, make_passages
from appliance.dataset.questions import Candidate
from appliance.dataset.template import ChatTemplate
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import ANSWER, Example
from appliance.dataset.units import Unit
from appliance.recipe import DatasetRecipe
from appliance.values import (
    BaseSpec,
    Document,
    ExampleKind,
    ExampleOrigin,
    MadePair,
    PairKind,
    Turn,
)

_HEADINGS_ALONE = "headings that nothing stands below"
_CUT_ANSWER = "answers longer than an example were cut at a sentence"
_MIN_EXAMPLE_TOKENS = 512
_CHAT_MARGIN = 128
"""Tokens of an example beyond those of a passage, for question and template."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long examples may be, in tokens, and which pairs are made.

    Attributes:
        passage: of a passage, start token included.
        example: of any example.
        pairs: "auto", "none" or "headings".
        seed: decides which made pairs are taken.
        kinds: what pairs are made from.
        system: instruction before every pair; "" for none.
        refusal: answer to what no document answers.
        refusal_share: part of the pairs that get it.
    """

    passage: int
    example: int
    pairs: Literal["auto", "none", "headings"]
    seed: int
    kinds: tuple[PairKind, ...] = ("asked", "steps", "headings")
    system: str = ""
    refusal: str = ""
    refusal_share: float = 0.0


def set_limits(base: BaseSpec, recipe: DatasetRecipe) -> Limits:
    """How long examples of a base may be, and which pairs a recipe wants."""
    longest = max(_MIN_EXAMPLE_TOKENS, recipe.passage_tokens + _CHAT_MARGIN)
    return Limits(
        passage=min(base.context, recipe.passage_tokens),
        example=min(base.context, longest),
        pairs=recipe.pairs,
        seed=recipe.seed,
        kinds=recipe.kinds,
        system=recipe.system,
        refusal=recipe.refusal,
        refusal_share=recipe.refusal_share if recipe.pairs != "none" else 0.0,
    )


@dataclass(kw_only=True, slots=True)
class Account:
    """Tokens of one document in one split, and the examples made from it."""

    num_tokens: int = 0
    num_used: int = 0
    num_dropped: int = 0
    num_repeated: int = 0
    reasons: set[str] = field(default_factory=set)
    kinds: Counter[ExampleKind] = field(default_factory=Counter)

    def drop(self, num_tokens: int, reason: str) -> None:
        """Count tokens that are in no example."""
        if num_tokens > 0:
            self.num_dropped += num_tokens
            self.reasons.add(reason)

    def add(self, other: Account) -> None:
        """Count what another part of the document came to."""
        self.num_tokens += other.num_tokens
        self.num_used += other.num_used
        self.num_dropped += other.num_dropped
        self.num_repeated += other.num_repeated
        self.reasons |= other.reasons
        self.kinds += other.kinds


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """What turns units into examples.

    Attributes:
        tokenizer: of the base.
        template: of the base.
        limits: lengths and kinds.
        generated: pairs that the base wrote, by number of their document.
    """

    tokenizer: TextTokenizer
    template: ChatTemplate
    limits: Limits
    generated: Mapping[int, Sequence[MadePair]]


@dataclass(kw_only=True, slots=True)
class Maker:
    """Collects examples and question candidates of a split."""

    documents: dict[int, Document]
    kit: Kit
    accounts: defaultdict[int, Account] = field(default_factory=lambda: defaultdict(Account))
    examples: list[Example] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)

    def add_conversation(self, unit: Unit) -> None:
        """Examples of a chat, a ticket or a question-answer row."""
        account, document = self.accounts[unit.document], self.documents[unit.document]
        made = make_conversation_examples(
            unit.conversation,
            unit.number,
            self.kit.template,
            self.kit.tokenizer,
            self.kit.limits.example,
        )
        said = "\n".join(turn.content for turn in unit.conversation)
        origin = ExampleOrigin(
            kind="conversation", source=document.source, talk=unit.talk, sha256=_hash(said)
        )
        self._add(made.examples, origin, account)
        account.num_used += made.num_used
        account.num_repeated += made.num_repeated
        account.drop(unit.num_tokens - made.num_used, made.reason)
        turns = [turn for turn in unit.conversation if turn.role != "system"]
        self.candidates.append(
            Candidate(
                question=turns[0].content,
                answer=turns[1].content,
                source=document.source,
                is_real=True,
            )
        )

    def add_text(self, unit: Unit, choice: Choice) -> None:
        """Passages of a text, then the pairs made from it."""
        account, document = self.accounts[unit.document], self.documents[unit.document]
        alone = {block.start for pair in choice.alone for block in pair.blocks}
        blocks = [block for block in unit.blocks if block.start not in alone]
        room = self.kit.limits.passage - (self.kit.tokenizer.bos_id is not None)
        made = make_passages(document.text, blocks, self.kit.tokenizer, room)
        for passage in made.passages:
            origin = _locate(document, "passage", passage.start, passage.end)
            self._add([_encode_passage(passage, unit.number, self.kit.tokenizer)], origin, account)
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

    def add_generated(self, unit: Unit, pairs: Sequence[MadePair]) -> None:
        """Pairs that the base wrote about places of this unit."""
        account, document = self.accounts[unit.document], self.documents[unit.document]
        places = {block.start for block in unit.blocks}
        for pair in pairs:
            if pair.start in places:
                origin = _locate(document, "generated", pair.start, pair.end)
                if self._ask(pair.question, pair.answer, unit.number, origin, account):
                    account.num_repeated += sum(self.kit.tokenizer.count([pair.answer]))

    def add_refusals(self, units: Sequence[Unit], name: str) -> None:
        """Questions that no document answers, in their share of all that is asked."""
        num_asked = sum(example.kind == ANSWER for example in self.examples)
        number = count_refusals(num_asked, self.kit.limits.refusal_share)
        topics = [_read_topic(unit, self.documents[unit.document]) for unit in units]
        asked = [topic for topic in topics if topic.headings]
        self.refuse(find_refusals(asked, self.documents, name, number, self.kit.limits.seed))

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Examples that answer questions with the refusal."""
        for refusal in refusals:
            origin, account = ExampleOrigin(kind="refusals", source=""), Account()
            if refusal.document is not None:
                document = self.documents[refusal.document]
                origin = _locate(document, "refusals", 0, len(document.text))
                account = self.accounts[refusal.document]
            self._ask(refusal.question, self.kit.limits.refusal, refusal.unit, origin, account)

    def _add_pair(self, pair: Pair, unit: Unit) -> int:
        """The tokens of the document that a pair's example holds."""
        origin = _locate(self.documents[unit.document], pair.kind, pair.start, pair.end)
        account = self.accounts[unit.document]
        if not self._ask(pair.question, pair.answer, unit.number, origin, account):
            return 0
        heading = pair.blocks[0].num_tokens if pair.is_real and len(pair.blocks) > 1 else 0
        return pair.num_answer_tokens + heading

    def _ask(
        self, question: str, answer: str, unit: int, origin: ExampleOrigin, account: Account
    ) -> bool:
        """Whether a question and its answer became an example."""
        system = self.kit.limits.system
        turns = (
            *((Turn(role="system", content=system),) if system else ()),
            Turn(role="user", content=question),
            Turn(role="assistant", content=answer),
        )
        made = make_conversation_examples(
            turns, unit, self.kit.template, self.kit.tokenizer, self.kit.limits.example
        )
        self._add(made.examples, origin, account)
        return bool(made.examples)

    def _add(self, examples: Sequence[Example], origin: ExampleOrigin, account: Account) -> None:
        self.examples += [replace(example, origin=origin) for example in examples]
        account.kinds[origin.kind] += len(examples)


def count_refusals(num_asked: int, share: float) -> int:
    """Refusals that make a share of all that is asked, beside so many questions with answers."""
    return round(num_asked * share / (1 - share))


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


def _read_topic(unit: Unit, document: Document) -> Topic:
    headings = (
        document.text[block.start : block.end].strip().lstrip("# ").strip(":. ")
        for block in unit.blocks
        if block.kind == "heading"
    )
    plain = tuple(text for text in headings if is_subject(text, document.title))
    return Topic(unit=unit.number, document=unit.document, headings=plain)


def _locate(document: Document, kind: ExampleKind, start: int, end: int) -> ExampleOrigin:
    return ExampleOrigin(
        kind=kind,
        source=document.source,
        start=start,
        end=end,
        sha256=_hash(document.text[start:end]),
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
