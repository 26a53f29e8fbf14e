"""A shuffled order that is computed, not held: the place of every item from its number alone."""

from __future__ import annotations

_ROUNDS = 4
_MASK = 2**64 - 1


def shuffle_index(index: int, size: int, *key: int) -> int:
    """Where an item goes in a shuffle of `size` items; every item goes to another place.

    Args:
        index: of the item, 0 to size - 1.
        size: number of items; any size costs the same.
        key: numbers that choose the shuffle, such as seed and epoch.

    Source: a Feistel network of four rounds is a pseudorandom permutation: Luby & Rackoff 1988,
    "How to construct pseudorandom permutations from pseudorandom functions"; it is walked until it
    falls inside `size`: Black & Rogaway 2002, "Ciphers with arbitrary finite domains".
    """
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    folded = 0
    for number in key:
        folded = _mix(folded ^ number)
    while True:
        left, right = index >> half, index & low
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mix(folded + (turn << 58) + right) & low)
        index = (left << half) | right
        if index < size:
            return index


def _mix(number: int) -> int:
    """Spread a number over 64 bits.

    Source: the finalizer of SplitMix64, Steele, Lea & Flood 2014, "Fast splittable pseudorandom
    number generators".
    """
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
