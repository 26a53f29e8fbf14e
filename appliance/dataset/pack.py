"""Packing: examples of different lengths fill micro-batches of a fixed number of tokens.

A pack is one flat row of tokens in which every example is a segment of its own: positions restart
at 0 and attention never crosses a border (`tuning/attention.py`). Order is a function of the seed
and the epoch alone, so that a restarted job reads exactly what it would have read.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.dataset.tokens import TokenFile

IGNORED = -100
"""Label of a position that does not count in the loss (the value torch's cross entropy skips)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """One micro-batch of T tokens.

    Attributes:
        token_ids_T: int64 ids.
        labels_T: int64 id of the next token, or IGNORED.
        positions_T: int64 position inside the segment.
        segments: (start, end) of every example inside the row.
    """

    token_ids_T: npt.NDArray[np.int64]
    labels_T: npt.NDArray[np.int64]
    positions_T: npt.NDArray[np.int64]
    segments: tuple[tuple[int, int], ...]

    @property
    def num_labels(self) -> int:
        """Positions that count in the loss."""
        return int((self.labels_T != IGNORED).sum())


def fill_packs(lengths: Sequence[int], pack_tokens: int) -> list[list[int]]:
    """Put items into as few bins as best-fit decreasing finds.

    Args:
        lengths: tokens of every item.
        pack_tokens: tokens that fit into a bin.

    Returns:
        Bins of item numbers, in the order in which they were opened.

    Raises:
        ValueError: an item is longer than a bin.

    Source: best-fit decreasing, Johnson 1973, "Near-optimal bin packing algorithms".
    """
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # heap of rooms that have at least one open bin
    for item in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        length = lengths[item]
        if length > pack_tokens:
            raise ValueError(f"example {item} has {length} tokens, a pack holds {pack_tokens}")
        skipped = []
        while rooms and rooms[0] < length:
            skipped.append(heapq.heappop(rooms))
        if rooms:
            room = rooms[0]
            bin_ = by_room[room].pop(0)
            if not by_room[room]:
                heapq.heappop(rooms)
                del by_room[room]
        else:
            room, bin_ = pack_tokens, len(bins)
            bins.append([])
        for small in skipped:
            heapq.heappush(rooms, small)
        bins[bin_].append(item)
        left = room - length
        if left:
            if left not in by_room:
                by_room[left] = []
                heapq.heappush(rooms, left)
            by_room[left].append(bin_)
    return bins


def build_pack(split: TokenFile, examples: Sequence[int]) -> Pack:
    """Lay examples of a split side by side in one row.

    Args:
        split: where the tokens are.
        examples: row numbers of `split.examples_E5`.
    """
    ids, labels, positions, segments = [], [], [], []
    offset = 0
    for start, length, *_ in split.examples_E5[list(examples)]:
        tokens = split.tokens_N[start : start + length].astype(np.int64)
        supervised = split.supervised_N[start : start + length].astype(bool)
        next_token = np.full(length, IGNORED, dtype=np.int64)
        next_token[:-1] = np.where(supervised[1:], tokens[1:], IGNORED)
        ids.append(tokens)
        labels.append(next_token)
        positions.append(np.arange(length, dtype=np.int64))
        segments.append((offset, offset + int(length)))
        offset += int(length)
    return Pack(
        token_ids_T=np.concatenate(ids),
        labels_T=np.concatenate(labels),
        positions_T=np.concatenate(positions),
        segments=tuple(segments),
    )


def cut_pack(pack: Pack, max_tokens: int) -> list[Pack]:
    """Smaller packs of the same examples, in their order; an example that is longer stays whole.

    Args:
        pack: T tokens.
        max_tokens: of a smaller pack.
    """
    groups: list[list[tuple[int, int]]] = []
    for start, end in pack.segments:
        if groups and end - groups[-1][0][0] <= max_tokens:
            groups[-1].append((start, end))
        else:
            groups.append([(start, end)])
    pieces = []
    for group in groups:
        first, last = group[0][0], group[-1][1]
        pieces.append(
            Pack(
                token_ids_T=pack.token_ids_T[first:last],
                labels_T=pack.labels_T[first:last],
                positions_T=pack.positions_T[first:last],
                segments=tuple((start - first, end - first) for start, end in group),
            )
        )
    return pieces


def put_before(pack: Pack, lead_ids: Sequence[int]) -> tuple[Pack, npt.NDArray[np.int64]]:
    """Put the same unlabelled tokens before every example of a pack.

    Args:
        pack: T tokens.
        lead_ids: ids of the tokens.

    Returns:
        The longer pack, and where in it the T tokens are, int64.
    """
    ids, labels, positions, segments, kept = [], [], [], [], []
    lead = np.asarray(lead_ids, dtype=np.int64)
    offset = 0
    for start, end in pack.segments:
        length = len(lead) + end - start
        ids += [lead, pack.token_ids_T[start:end]]
        labels += [np.full(len(lead), IGNORED, dtype=np.int64), pack.labels_T[start:end]]
        positions.append(np.arange(length, dtype=np.int64))
        segments.append((offset, offset + length))
        kept.append(np.arange(offset + len(lead), offset + length, dtype=np.int64))
        offset += length
    longer = Pack(
        token_ids_T=np.concatenate(ids),
        labels_T=np.concatenate(labels),
        positions_T=np.concatenate(positions),
        segments=tuple(segments),
    )
    return longer, np.concatenate(kept)


class PackedBatches:
    """The packs of every step of a training run, by step number."""

    def __init__(
        self,
        split: TokenFile,
        *,
        pack_tokens: int,
        packs_per_step: int,
        seed: int,
        examples: Sequence[int] | None = None,
        lead_tokens: int = 0,
    ) -> None:
        """Pack the examples (all of the split, or those given) and fix their order by the seed.

        Room is left for `lead_tokens` before every example.
        """
        self._split = split
        chosen = np.arange(len(split.examples_E5)) if examples is None else np.asarray(examples)
        shuffled = np.random.default_rng([seed, 0]).permutation(chosen)
        bins = fill_packs((split.lengths_E[shuffled] + lead_tokens).tolist(), pack_tokens)
        self._packs = [[int(shuffled[item]) for item in bin_] for bin_ in bins]
        self._packs_per_step = packs_per_step
        self._seed = seed

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that read every pack once; the last may be smaller."""
        return -(-len(self._packs) // self._packs_per_step)

    def read_step(self, step: int) -> list[Pack]:
        """Packs of one optimizer step, counted from 0 over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self._seed, 1 + epoch]).permutation(len(self._packs))
        first = index * self._packs_per_step
        chosen = order[first : first + self._packs_per_step]
        return [build_pack(self._split, self._packs[number]) for number in chosen]

    def read_all(self) -> list[Pack]:
        """Every pack once, in packing order: for evaluation."""
        return [build_pack(self._split, pack) for pack in self._packs]
