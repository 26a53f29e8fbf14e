"""Which pairs become examples: real ones all, made ones as far as they may repeat the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from appliance.dataset.pairing.find import Pair, deal_kinds, rank_made
from appliance.dataset.units import Unit
from appliance.values import Document

_MAX_REPEATED_SHARE = 0.25
"""Of the tokens of passages, that answers may repeat. Source: a prototype in which answers made
from every heading turned one epoch silently into two (clef handbook, 21k tokens became 34k)."""


@dataclass(kw_only=True, slots=True)
class Choice:
    """Pairs of a unit that become examples; of `alone`, the section leaves the passages."""

    pairs: list[Pair] = field(default_factory=list)
    alone: list[Pair] = field(default_factory=list)


def choose_pairs(
    units: Sequence[Unit],
    found: Mapping[int, Sequence[Pair]],
    documents: Mapping[int, Document],
    seed: int,
    *,
    everything: bool,
) -> dict[int, Choice]:
    """Real pairs all, made ones while answers repeat no more than their share of the passages.

    Once real pairs alone have used up the share, the rest of them leave the passages. Made ones are
    taken so that every kind gets as many tokens as another, as long as it has pairs.

    Args:
        units: of a split.
        found: pairs by number of their unit.
        documents: by number.
        seed: decides which made pairs are taken.
        everything: whether all are taken, however much they repeat.
    """
    choices = {unit.number: Choice() for unit in units}
    in_passages = sum(unit.num_tokens for unit in units if not unit.conversation)
    repeated = 0
    for unit, pair in _rank(units, found, documents, seed):
        has_room = repeated + pair.num_tokens <= _MAX_REPEATED_SHARE * in_passages
        if everything or has_room:
            choices[unit.number].pairs.append(pair)
            repeated += pair.num_tokens
        elif pair.is_real:
            choices[unit.number].alone.append(pair)
            in_passages -= pair.num_tokens
    return choices


def _rank(
    units: Sequence[Unit],
    found: Mapping[int, Sequence[Pair]],
    documents: Mapping[int, Document],
    seed: int,
) -> list[tuple[Unit, Pair]]:
    """Real pairs first, then made ones as they are dealt."""
    items = [(unit, pair) for unit in units for pair in found.get(unit.number, ())]
    ranks = [rank_made(documents[unit.document].source, pair, seed) for unit, pair in items]
    real = [n for n, (_, pair) in enumerate(items) if pair.is_real]
    made = [n for n, (_, pair) in enumerate(items) if not pair.is_real]
    dealt = deal_kinds([(ranks[n], items[n][1]) for n in made])
    order = [*sorted(real, key=lambda n: ranks[n]), *(made[n] for n in dealt)]
    return [items[n] for n in order]
