"""Which units are trained on, which are kept for choices, which for the verdict.

The split goes by families of units (see `units.py`), largest first, each to the split that is
furthest behind its share of tokens so far. That keeps the shares at every size: small and large
documents land everywhere, and the test split never hangs on one big document. Texts, conversations
and records are dealt out apart, so that each kind is learned and each is tested.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import Literal

from appliance.dataset.units import Unit
from appliance.errors import DocumentsError

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
MIN_TOKENS = 2_000
_ENOUGH_FAMILIES = 8
_LARGEST_SHARE = 0.7
"""Of its split, that one family may have outside of training when there are enough families."""
_BAND = 8
"""Families of like size among which the seed decides."""


def assign_splits(
    units: list[Unit], *, valid_share: float, test_share: float, seed: int
) -> dict[int, SplitName]:
    """The split of every unit, by its number.

    Args:
        units: of the whole corpus.
        valid_share: share of tokens for the validation split.
        test_share: share of tokens for the test split.
        seed: decides among units of like size.

    Raises:
        DocumentsError: there is too little text, or it cannot be divided in three.
    """
    sizes: Counter[int] = Counter()
    for unit in units:
        sizes[unit.family] += unit.num_tokens
    total = sizes.total()
    if total < MIN_TOKENS or len(sizes) < 3:
        raise _too_little(total, len(sizes))
    shares: dict[SplitName, float] = {
        "train": 1 - valid_share - test_share,
        "valid": valid_share,
        "test": test_share,
    }
    families: dict[int, SplitName] = {}
    for kind in _sort_by_kind(units):
        ordered = _order({family: sizes[family] for family in kind}, seed)
        families |= _assign_families(ordered, sizes, shares)
    _fill_empty(families, sizes)
    return {unit.number: families[unit.family] for unit in units}


def _sort_by_kind(units: list[Unit]) -> list[list[int]]:
    """Families of texts, of records from one file, and of conversations."""
    per_document = Counter(unit.document for unit in units if not unit.conversation)
    kinds: dict[int, int] = {}
    for unit in units:
        many = per_document[unit.document] > 1
        kinds.setdefault(unit.family, 2 if unit.conversation else int(many))
    return [[family for family in kinds if kinds[family] == kind] for kind in range(3)]


def _order(sizes: dict[int, int], seed: int) -> list[int]:
    """Families from large to small; inside bands of like size, by the seed."""
    ranked = sorted(sizes, key=lambda family: (-sizes[family], family))
    ordered: list[int] = []
    for start in range(0, len(ranked), _BAND):
        band = ranked[start : start + _BAND]
        ordered += sorted(band, key=lambda family: _draw(seed, family))
    return ordered


def _draw(seed: int, family: int) -> bytes:
    return hashlib.blake2b(f"{seed} {family}".encode(), digest_size=8).digest()


def _assign_families(
    ordered: list[int], sizes: Counter[int], shares: dict[SplitName, float]
) -> dict[int, SplitName]:
    total = sum(sizes[family] for family in ordered)
    filled: dict[SplitName, int] = dict.fromkeys(SPLITS, 0)
    families: dict[int, SplitName] = {}
    seen = 0
    for family in ordered:
        size = sizes[family]
        seen += size
        behind = {name: shares[name] * seen - filled[name] for name in SPLITS}
        allowed = [
            name
            for name in SPLITS
            if name == "train" or _may_take(size, filled[name], shares[name] * total, len(ordered))
        ]
        chosen = max(allowed, key=lambda name: (behind[name], name))
        families[family] = chosen
        filled[chosen] += size
    return families


def _may_take(size: int, filled: int, target: float, num_families: int) -> bool:
    if num_families >= _ENOUGH_FAMILIES and size > _LARGEST_SHARE * target:
        return False
    return filled + size <= 1.25 * target


def _fill_empty(families: dict[int, SplitName], sizes: Counter[int]) -> None:
    """No split stays empty, nor the test with one family if there are enough.

    What is missing is the smallest family that the split with most of them can spare.
    """
    enough = len(families) >= _ENOUGH_FAMILIES
    wanted: tuple[tuple[SplitName, int], ...] = (("test", 1 + enough), ("valid", 1), ("train", 1))
    for name, least in wanted:
        members: dict[SplitName, list[int]] = defaultdict(list)
        for family, split in families.items():
            members[split].append(family)
        missing = least - len(members[name])
        donor = max(SPLITS, key=lambda split: len(members[split]))
        spare = sorted(members[donor], key=lambda family: (sizes[family], family))
        for family in spare[: max(0, missing)]:
            families[family] = name


def _too_little(num_tokens: int, num_families: int) -> DocumentsError:
    return DocumentsError(
        "too little text to tune a model and to prove that it got better",
        why=f"{num_tokens:,} tokens in {num_families} independent parts; "
        f"at least {MIN_TOKENS:,} tokens in 3 parts are needed",
        fix="add documents: some 20 pages are a start, 100 and more are worth it",
    )
