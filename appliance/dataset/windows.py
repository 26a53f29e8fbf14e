"""Windows: a split of any size as one long row of tokens, cut into packs of equal length.

Documents stand one after another and are divided where a window ends. Nothing is held: a window is
read from the mapped file when its turn comes, and its turn is computed from its number. So the
number of the step is the exact place in the data, whatever its size.

Letters: T tokens of a window, N tokens of the split.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from appliance.dataset.mixing import Mixture, Source, divide_windows
from appliance.dataset.pack import IGNORED, Pack
from appliance.dataset.shuffle import shuffle_index
from appliance.dataset.tokens import TokenFile

_REPLAY, _MORE = 2, 3
"""Which shuffle: of general text, of what is replayed on top."""


def count_windows(split: TokenFile, window_tokens: int) -> int:
    """Windows of a split; the last may be shorter."""
    return -(-len(split.tokens_N) // window_tokens)


def read_window(split: TokenFile, number: int, window_tokens: int) -> Pack:
    """One window: its parts of documents are segments, and its last token's label is in the next.

    Every supervised token of the split is the label of exactly one position.

    Args:
        split: where the tokens are.
        number: of the window, from 0.
        window_tokens: T.
    """
    start = number * window_tokens
    end = min(start + window_tokens, len(split.tokens_N))
    labels_T = np.full(end - start, IGNORED, dtype=np.int64)
    known = split.supervised_N[start + 1 : end + 1].astype(bool)  # one less at the very end
    following = split.tokens_N[start + 1 : end + 1].astype(np.int64)
    labels_T[: len(known)] = np.where(known, following, IGNORED)
    starts_E = split.examples_E5[:, 0]
    first, last = np.searchsorted(starts_E, [start + 1, end])
    borders = [0, *(int(place) - start for place in starts_E[first:last]), end - start]
    segments = tuple(itertools.pairwise(borders))
    return Pack(
        token_ids_T=split.tokens_N[start:end].astype(np.int64),
        labels_T=labels_T,
        positions_T=np.concatenate([np.arange(b - a, dtype=np.int64) for a, b in segments]),
        segments=segments,
    )


class WindowBatches:
    """The windows of every step, general text among them, in the order of `mixing.py`."""

    def __init__(
        self,
        split: TokenFile,
        replay: TokenFile,
        *,
        window_tokens: int,
        windows_per_step: int,
        replay_share: float,
        seed: int,
        sources: Sequence[Source] | None = None,
        order: tuple[int, ...] = (),
    ) -> None:
        """Fix how many windows an epoch has.

        Args:
            split: what is learned.
            replay: general text; may be empty.
            window_tokens: T.
            windows_per_step: windows whose gradients make one optimizer update.
            replay_share: part of the windows of an epoch that is general text.
            seed: of all orders.
            sources: of `divide_windows`; None where all text is read once.
            order: sources that are read one after another.
        """
        self._split, self._replay = split, replay
        self._window_tokens = window_tokens
        self._windows_per_step = windows_per_step
        self._seed = seed
        sources = sources or divide_windows(split, window_tokens)
        wanted = sum(source.num_read for source in sources) * replay_share / (1 - replay_share)
        num_replayed = round(wanted) if count_windows(replay, window_tokens) else 0
        self._mixture = Mixture(
            sources=tuple(sources), order=order, num_beside=num_replayed, seed=seed
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that read every window once; the last may be smaller."""
        return -(-self._mixture.num_windows // self._windows_per_step)

    def read_step(self, step: int) -> list[Pack]:
        """Windows of one optimizer step, counted from 0 over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        first = index * self._windows_per_step
        last = min(first + self._windows_per_step, self._mixture.num_windows)
        return [self._read(*self._mixture.find(epoch, place)) for place in range(first, last)]

    def _read(self, is_document: bool, number: int) -> Pack:
        if is_document:
            return read_window(self._split, number, self._window_tokens)
        return read_in_turn(self._replay, number, self._window_tokens, self._seed, _REPLAY)


class ReplayWindows:
    """General text beside the packs of a step, as much as is asked for: a window for a pack."""

    def __init__(
        self, split: TokenFile, *, window_tokens: int, packs_per_step: int, seed: int
    ) -> None:
        """Say what a share is a share of.

        Args:
            split: general text.
            window_tokens: T.
            packs_per_step: packs of documents of a step.
            seed: of the order.
        """
        self._split, self._window_tokens = split, window_tokens
        self._packs_per_step, self._seed = packs_per_step, seed

    def read_step(self, step: int, share: float) -> list[Pack]:
        """Windows of a step: none in most steps where the share is small.

        Args:
            step: counted from 0 over all epochs.
            share: windows for every pack of documents.
        """
        if not len(self._split.tokens_N):
            return []
        turns = range(*(int(at * share * self._packs_per_step) for at in (step, step + 1)))
        return [
            read_in_turn(self._split, turn, self._window_tokens, self._seed, _MORE)
            for turn in turns
        ]

    def read_all(self) -> list[Pack]:
        """Every window once."""
        numbers = range(count_windows(self._split, self._window_tokens))
        return [read_window(self._split, number, self._window_tokens) for number in numbers]


def read_in_turn(split: TokenFile, turn: int, window_tokens: int, *key: int) -> Pack:
    """The window whose turn it is when a split is read again and again, shuffled anew each time.

    Args:
        split: at least one token.
        turn: counted from 0 over all rounds.
        window_tokens: T.
        key: numbers that choose the order.
    """
    total = count_windows(split, window_tokens)
    round_, place = divmod(turn, total)
    return read_window(split, shuffle_index(place, total, *key, round_), window_tokens)
