"""The examples of one split, and what became of the tokens of its units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.dataset.choosing import choose_pairs
from appliance.dataset.maker import Account, Limits, Maker
from appliance.dataset.pairing.find import Pair, find_pairs
from appliance.dataset.questions import Candidate
from appliance.dataset.template import ChatTemplate
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import Example
from appliance.dataset.units import Unit
from appliance.values import Document, MadePair


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


def make_split(
    units: Sequence[Unit],
    documents: dict[int, Document],
    tokenizer: TextTokenizer,
    template: ChatTemplate,
    limits: Limits,
    name: str = "train",
    generated: Mapping[int, Sequence[MadePair]] | None = None,
) -> SplitExamples:
    """Make the examples of the units of one split.

    Args:
        units: of the split.
        documents: all of the corpus, by number.
        tokenizer: of the base.
        template: of the base.
        limits: lengths and kinds.
        name: of the split.
        generated: pairs that the base wrote, by number of their document.
    """
    found = _find_all(units, documents, tokenizer, limits)
    everything = limits.pairs == "headings"
    choices = choose_pairs(units, found, documents, limits.seed, everything=everything)
    maker = Maker(documents=documents, tokenizer=tokenizer, template=template, limits=limits)
    for unit in units:
        maker.accounts[unit.document].num_tokens += unit.num_tokens
        if unit.conversation:
            maker.add_conversation(unit)
        else:
            maker.add_text(unit, choices[unit.number])
            maker.add_generated(unit, (generated or {}).get(unit.document, ()))
    maker.add_refusals(units, name)
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
        accounts=dict(maker.accounts),
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
                document.text,
                unit.blocks,
                document.title,
                tokenizer,
                limits.example // 2,
                limits.kinds,
            )
    return found
