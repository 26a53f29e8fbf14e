"""Samples of a split: at most so many tokens, spread evenly over its documents."""

from __future__ import annotations

import numpy as np

from appliance.dataset.pack import Pack, build_pack, fill_packs
from appliance.dataset.tokens import TokenFile


def choose_examples(split: TokenFile, max_tokens: int) -> list[int]:
    """Whole examples, spread evenly over the documents of a split; the same ones every time.

    Every document gives its first example before any gives its second, until the budget is used;
    which one is first is decided by a fixed seed.

    Args:
        split: any split.
        max_tokens: tokens of all chosen examples at most.

    Returns:
        Row numbers in the order of the file; at least one if the split has any label.
    """
    num_labels_E = split.count_labels()
    seen: dict[int, int] = {}
    turns: list[tuple[int, int]] = []
    for row in np.random.default_rng(0).permutation(len(split.examples_E5)).tolist():
        if num_labels_E[row]:
            document = int(split.examples_E5[row, 2])
            seen[document] = seen.get(document, 0) + 1
            turns.append((seen[document], row))
    turns.sort(key=lambda turn: turn[0])
    chosen: list[int] = []
    left = max_tokens
    for _, row in turns:
        length = int(split.lengths_E[row])
        if length <= left or not chosen:
            chosen.append(row)
            left -= length
    return sorted(chosen)


def pack_examples(split: TokenFile, rows: list[int], pack_tokens: int) -> list[Pack]:
    """Packs of these examples, for scoring."""
    lengths = [int(split.lengths_E[row]) for row in rows]
    bins = fill_packs(lengths, max(pack_tokens, max(lengths, default=1)))
    return [build_pack(split, [rows[item] for item in bin_]) for bin_ in bins]
