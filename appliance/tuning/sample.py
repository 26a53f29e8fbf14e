"""Samples of a split: at most so many tokens, spread evenly over its documents."""

from __future__ import annotations

from appliance.dataset.pack import Pack, build_pack, fill_packs
from appliance.dataset.tokens import TokenFile


def choose_examples(split: TokenFile, max_tokens: int) -> list[int]:
    """Row numbers of examples that together have at most `max_tokens` tokens (at least one row).

    Documents take turns, each giving its next example, so that none is preferred. The same split
    and number always give the same examples, in the order of the file.
    """
    by_document: dict[int, list[int]] = {}
    for row, document in enumerate(split.examples_E5[:, 2].tolist()):
        by_document.setdefault(document, []).append(row)
    queues = [list(reversed(_spread(rows))) for rows in by_document.values()]
    chosen: list[int] = []
    total = 0
    while queues:
        for queue in queues:
            row = queue.pop()
            length = int(split.lengths_E[row])
            if chosen and total + length > max_tokens:
                continue
            chosen.append(row)
            total += length
        queues = [queue for queue in queues if queue] if total < max_tokens else []
    return sorted(chosen)


def _spread(rows: list[int]) -> list[int]:
    """The same rows, neighbours apart: first every fourth, then those between."""
    return [row for offset in (0, 2, 1, 3) for row in rows[offset::4]]


def pack_examples(split: TokenFile, rows: list[int], pack_tokens: int) -> list[Pack]:
    """Packs of these examples, for scoring."""
    lengths = [int(split.lengths_E[row]) for row in rows]
    bins = fill_packs(lengths, max(pack_tokens, max(lengths, default=1)))
    return [build_pack(split, [rows[item] for item in bin_]) for bin_ in bins]
