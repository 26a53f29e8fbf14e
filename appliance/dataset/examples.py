"""The examples of one split, and what became of the tokens of its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from appliance.dataset.choosing import choose_pairs
from appliance.dataset.maker import Account, Kit, Limits, Maker, count_refusals
from appliance.dataset.pairing.find import Pair, find_pairs
from appliance.dataset.pairing.refusals import Refusal, draw_split
from appliance.dataset.questions import Candidate
from appliance.dataset.split import SplitName
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import Example
from appliance.dataset.units import Unit
from appliance.values import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitExamples:
    """What a split is made of.

    Attributes:
        examples: in the order of their units.
        accounts: by number of the document.
        candidates: questions with their answers.
    """

    examples: tuple[Example, ...]
    accounts: dict[int, Account]
    candidates: tuple[Candidate, ...]


def make_split(
    units: Sequence[Unit], documents: dict[int, Document], kit: Kit, name: SplitName
) -> SplitExamples:
    """Make the examples of the units of one split.

    Args:
        units: of the split.
        documents: of the shard, by number.
        kit: what turns units into examples.
        name: of the split.
    """
    limits = kit.limits
    found = _find_all(units, documents, kit.tokenizer, limits)
    everything = limits.pairs == "headings"
    choices = choose_pairs(units, found, documents, limits.seed, everything=everything)
    maker = Maker(documents=documents, kit=kit)
    for unit in units:
        maker.accounts[unit.document].num_tokens += unit.num_tokens
        if unit.conversation:
            maker.add_conversation(unit)
        else:
            maker.add_text(unit, choices[unit.number])
            if name == "train":
                maker.add_generated(unit, kit.generated.get(unit.document, ()))
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
    )


def make_strangers(
    unanswered: Sequence[Refusal], kit: Kit, name: SplitName, num_asked: int
) -> list[Example]:
    """Refusals of what no document answers, in their share of all that is asked.

    Args:
        unanswered: questions about no document.
        kit: what turns them into examples.
        name: of the split.
        num_asked: examples of it that answer.
    """
    maker = Maker(documents={}, kit=kit)
    wanted = count_refusals(num_asked, kit.limits.refusal_share)
    own = (refusal for refusal in unanswered if draw_split(refusal.question) == name)
    maker.refuse(list(islice(own, wanted)))
    return maker.examples


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
