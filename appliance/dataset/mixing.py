"""How often text of a source is read, and which source comes when: computed, nothing is held.

A source is a sub-folder of the documents, or a pattern. Documents of a source mostly lie side by
side, so a source is a few runs of windows. Each place in an epoch is turned into a source and the
number of one of its windows; so a step's number is the exact cursor, as without any mixing.

Letters: D documents, E examples.
"""

from __future__ import annotations

import bisect
import fnmatch
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.dataset.shuffle import shuffle_index
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.values import Document

OTHERS = 0
"""Number of the source that holds every document no pattern names."""

_WITHIN, _PHASE, _AMONG = 11, 12, 13
"""Which shuffle: of a source's windows, of a phase, of what is read among all phases."""


def list_sources(mix: Mapping[str, float], order: Sequence[str]) -> tuple[str, ...]:
    """Every source that a recipe names, once; the first that fits a document is its own."""
    return tuple(dict.fromkeys((*mix, *order)))


def find_source(path: str, sources: Sequence[str]) -> int:
    """Number of the source of a file, from 1; OTHERS where none fits.

    Args:
        path: relative to the documents folder.
        sources: sub-folders, as `books` or `manuals/pumps`, or patterns, as `*.csv`.
    """
    for number, source in enumerate(sources, start=1):
        folder = source.rstrip("/") + "/"
        if path.startswith(folder) or fnmatch.fnmatchcase(path, source):
            return number
    return OTHERS


def write_sources(documents_file: Path, sources: Sequence[str], path: Path) -> None:
    """Write the source of every document, in their order, one byte each."""
    with documents_file.open(encoding="utf-8") as lines, path.open("wb") as file:
        for line in lines:
            document = Document.model_validate_json(line)
            file.write(bytes([find_source(document.source, sources)]))


def weigh_sources(mix: Mapping[str, float], order: Sequence[str]) -> tuple[float, ...]:
    """How often each source is read in an epoch, by its number."""
    return (1.0, *(mix.get(name, 1.0) for name in list_sources(mix, order)))


def count_read(folder: Path, path: Path, mix: Mapping[str, float]) -> int:
    """Tokens of a split that one epoch reads.

    Args:
        folder: of the split.
        path: what `write_sources` wrote.
        mix: weights of sources; those that are only ordered are read once.
    """
    table_E5 = open_token_file(folder).examples_E5
    of_examples_E = np.fromfile(path, dtype=np.uint8)[table_E5[:, 2]]
    weights_E = np.ones(len(table_E5))
    for number, weight in enumerate(mix.values(), start=1):
        weights_E[of_examples_E == number] = weight
    return round(float(weights_E @ table_E5[:, 1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Windows of one source.

    Attributes:
        number: of the source.
        starts: first window of each run of neighbours.
        before: windows in all runs before each, and in all at the end.
        num_read: windows of it that an epoch reads.
    """

    number: int
    starts: tuple[int, ...]
    before: tuple[int, ...]
    num_read: int

    @property
    def num_windows(self) -> int:
        """Windows that it has."""
        return self.before[-1]

    def find_window(self, turn: int, seed: int) -> int:
        """Number of the window whose turn it is, counted over all epochs: each once a round."""
        round_, place = divmod(turn, self.num_windows)
        index = shuffle_index(place, self.num_windows, seed, _WITHIN, self.number, round_)
        run = bisect.bisect_right(self.before, index) - 1
        return self.starts[run] + index - self.before[run]


def divide_windows(
    split: TokenFile,
    window_tokens: int,
    sources_D: npt.NDArray[np.uint8] | None = None,
    weights: Sequence[float] = (1.0,),
) -> tuple[Source, ...]:
    """The windows of every source; a window belongs to the document that it begins in.

    Args:
        split: what is learned.
        window_tokens: of a window.
        sources_D: source of every document; None for one source.
        weights: how often each is read in an epoch, by number.
    """
    total = -(-len(split.tokens_N) // window_tokens)
    runs: dict[int, list[tuple[int, int]]] = {number: [] for number in range(len(weights))}
    borders = _list_borders(split, sources_D) if sources_D is not None else [(0, OTHERS)]
    marks = [(-(-start // window_tokens), number) for start, number in borders]
    for (first, number), (last, _) in itertools.pairwise([*marks, (total, OTHERS)]):
        if first < last:
            runs[number].append((first, last))
    return tuple(
        Source(
            number=number,
            starts=tuple(first for first, _ in runs[number]),
            before=tuple(itertools.accumulate((b - a for a, b in runs[number]), initial=0)),
            num_read=round(weight * sum(b - a for a, b in runs[number])),
        )
        for number, weight in enumerate(weights)
    )


def _list_borders(split: TokenFile, sources_D: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """First token and source of each run of documents of one source."""
    of_examples_E = sources_D[split.examples_E5[:, 2]]
    changes = np.flatnonzero(np.diff(of_examples_E)) + 1
    firsts = [0, *changes.tolist()] if len(of_examples_E) else []
    return [(int(split.examples_E5[row, 0]), int(of_examples_E[row])) for row in firsts]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """What an epoch reads, place by place.

    Attributes:
        sources: by number.
        order: numbers of sources that are read one after another; the others, and what is read
            beside all sources, are spread over the whole epoch.
        num_beside: windows of an epoch that are of no source: general text.
        seed: of all orders.
    """

    sources: tuple[Source, ...]
    order: tuple[int, ...]
    num_beside: int
    seed: int

    @property
    def num_windows(self) -> int:
        """Windows that an epoch reads."""
        return sum(source.num_read for source in self.sources) + self.num_beside

    def find(self, epoch: int, place: int) -> tuple[bool, int]:
        """What is read at a place of an epoch.

        Returns:
            True and the number of a window, or False and the turn of general text, counted over
            all epochs.
        """
        start = among = 0
        num_among = self.num_windows - sum(self.sources[n].num_read for n in self.order)
        for phase, (source, share) in enumerate(self._list_phases(num_among)):
            own = source.num_read if source else 0
            if place < start + own + share:
                key = (self.seed, _PHASE, epoch, phase)
                index = shuffle_index(place - start, own + share, *key)
                if source and index < own:
                    return True, source.find_window(epoch * own + index, self.seed)
                return self._find_among(epoch, among + index - own, num_among)
            start, among = start + own + share, among + share
        raise IndexError(place)

    def _list_phases(self, num_among: int) -> list[tuple[Source | None, int]]:
        """Each phase's source, and how many windows of the others are read in it."""
        ordered = [self.sources[number] for number in self.order if self.sources[number].num_read]
        if not ordered:
            return [(None, num_among)]
        ends = list(itertools.accumulate(source.num_read for source in ordered))
        shares = [num_among * end // ends[-1] for end in ends]
        parts = [last - first for first, last in itertools.pairwise([0, *shares])]
        return list(zip(ordered, parts, strict=True))

    def _find_among(self, epoch: int, place: int, num_among: int) -> tuple[bool, int]:
        index = shuffle_index(place, num_among, self.seed, _AMONG, epoch)
        for source in self.sources:
            if source.number in self.order:
                continue
            if index < source.num_read:
                turn = epoch * source.num_read + index
                return True, source.find_window(turn, self.seed)
            index -= source.num_read
        return False, epoch * self.num_beside + index
