"""Near duplicates: documents most of whose phrases stand in another document too.

A document is the set of its phrases of three words. The least hash in each of 128 bins stands for
the set; documents that share some of them in a row are compared. Memory: 512 bytes a document.

Source: A. Broder, 1997, "On the resemblance and containment of documents"; P. Li and others, 2012,
"One permutation hashing"; A. Shrivastava, 2017, "Optimal densification for fast and accurate
minwise hashing".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Phrases = npt.NDArray[np.uint64]
"""Hashes of the phrases of a document, sorted, each once."""

Signature = npt.NDArray[np.uint32]
"""The least value of each hash function over the phrases: estimates how much two sets share."""

NUM_HASHES = 128
PHRASE_WORDS = 3
MIN_PHRASES = 8

_BANDS = (4, 8, 16)
"""Rows a band. Four rows find documents that share half, eight and sixteen find near twins among
the many that four rows throw together."""

_CROWD = 24
"""Documents with the same band of which every two are compared; of more, only neighbours are."""

_PAIRS_AT_ONCE = 2**14
_SIGNS = bytes(code if chr(code).isalnum() or code > 127 else 32 for code in range(256))
_NO_SPACES = 15
"""Bytes a word, on average: more means a script without spaces, taken letter by letter."""

_GOLDEN, _MIX_1, _MIX_2 = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
"""Source: G. L. Steele and others, 2014, "Fast splittable pseudorandom number generators"."""


def split_phrases(text: str) -> Phrases:
    """The phrases of a text, whatever its capitals, signs and line breaks."""
    body = text.casefold().encode().translate(_SIGNS)
    words = body.split()
    if len(body) > _NO_SPACES * max(1, len(words)) and not body.isascii():
        words = [letter.encode() for letter in text.casefold() if letter.isalnum()]
    hashes = np.fromiter(map(zlib.crc32, words), dtype=np.uint64, count=len(words))
    num_phrases = max(0, len(words) - PHRASE_WORDS + 1)
    phrases = np.zeros(num_phrases, dtype=np.uint64)
    for place in range(PHRASE_WORDS):
        phrases = _mix(phrases + hashes[place : place + num_phrases])
    return np.unique(phrases)


def sign(phrases: Phrases) -> Signature:
    """The signature of a document that has phrases."""
    bins = (phrases % np.uint64(NUM_HASHES)).astype(np.intp)
    signature = np.zeros(NUM_HASHES, dtype=np.uint32)
    signature[bins[::-1]] = phrases[::-1] >> np.uint64(32)  # sorted: the last written is the least
    has_own = np.zeros(NUM_HASHES, dtype=np.bool_)
    has_own[bins] = True
    is_empty = ~has_own
    for draw in _DRAWS:
        if not is_empty.any():
            break
        can_fill = is_empty & has_own[draw]
        signature[can_fill] = signature[draw[can_fill]]
        is_empty &= ~can_fill
    return signature


def measure_overlap(one: Phrases, other: Phrases) -> float:
    """Share of the phrases of two documents that both have (Jaccard index)."""
    num_shared = len(np.intersect1d(one, other, assume_unique=True))
    return num_shared / max(1, len(one) + len(other) - num_shared)


def find_candidates(
    signatures: npt.NDArray[np.uint32], least: float
) -> dict[int, list[tuple[float, int]]]:
    """Pairs of documents that may share phrases.

    Args:
        signatures: [documents, NUM_HASHES] uint32.
        least: estimated overlap below which a pair is left out.

    Returns:
        For each document that resembles another: estimated overlap and number of those it
        resembles, most alike first.
    """
    pairs = _list_pairs(signatures)
    alike = _compare(signatures, pairs)
    found: dict[int, list[tuple[float, int]]] = {}
    for (i, j), overlap in zip(pairs.tolist(), alike.tolist(), strict=True):
        if overlap >= least:
            found.setdefault(i, []).append((overlap, j))
            found.setdefault(j, []).append((overlap, i))
    return {i: sorted(others, key=lambda o: (-o[0], o[1])) for i, others in found.items()}


def _compare(
    signatures: npt.NDArray[np.uint32], pairs: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    alike = np.zeros(len(pairs), dtype=np.float64)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = pairs[start : start + _PAIRS_AT_ONCE]
        same = signatures[part[:, 0]] == signatures[part[:, 1]]
        alike[start : start + _PAIRS_AT_ONCE] = same.mean(axis=1)
    return alike


def _list_pairs(signatures: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Pairs that share a band, smaller number first, each once, sorted."""
    parts = [np.empty((0, 2), dtype=np.int64)]
    for rows in _BANDS:
        for start in range(0, NUM_HASHES, rows):
            parts.append(_pair_up(_hash_band(signatures[:, start : start + rows])))
    return np.unique(np.concatenate(parts), axis=0)


def _hash_band(rows: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    band = np.zeros(len(rows), dtype=np.uint64)
    for column in range(rows.shape[1]):
        band = _mix(band + rows[:, column])
    return band


def _pair_up(band: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Pairs with the same value; in a crowd, only neighbours and each with the first."""
    order = np.argsort(band, kind="stable")
    borders = np.flatnonzero(np.diff(band[order])) + 1
    starts, ends = np.append(0, borders), np.append(borders, len(order))
    pairs: list[tuple[int, int]] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > 1:
            pairs += _list_group(order[start:end].tolist())
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _list_group(members: list[int]) -> Iterator[tuple[int, int]]:
    if len(members) <= _CROWD:
        yield from ((i, j) for place, i in enumerate(members) for j in members[place + 1 :])
        return
    yield from pairwise(members)
    yield from ((members[0], other) for other in members[2:])


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread numbers over 64 bits: equal ones stay equal, near ones go far apart."""
    numbers = numbers + _GOLDEN
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX_1
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX_2
    return numbers ^ (numbers >> np.uint64(31))


_DRAWS = (
    (_mix(np.arange(2048 * NUM_HASHES, dtype=np.uint64)) % np.uint64(NUM_HASHES))
    .astype(np.intp)
    .reshape(2048, NUM_HASHES)
)
"""From which bin an empty one takes its value: the first of these that is not empty itself."""
