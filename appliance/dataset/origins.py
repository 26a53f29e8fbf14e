"""Where every example of a split comes from: one line each, beside its token file.

File names stand in it, so it is as private as the text: it stays in the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from appliance.dataset.tokens import Example
from appliance.values import ExampleKind, ExampleOrigin

_NAME = "origins.jsonl"


def write_origins(split: Path, examples: Sequence[Example]) -> dict[ExampleKind, int]:
    """Write the origins of a split.

    Args:
        split: folder of its token file.
        examples: as they stand in it.

    Returns:
        Examples by what they are.
    """
    kinds: Counter[ExampleKind] = Counter()
    with (split / _NAME).open("w", encoding="utf-8") as lines:
        for example in examples:
            assert example.origin is not None
            lines.write(example.origin.model_dump_json() + "\n")
            kinds[example.origin.kind] += 1
    return dict(sorted(kinds.items()))


def read_origins(split: Path) -> list[ExampleOrigin]:
    """The origins of a split, in the order of its examples."""
    with (split / _NAME).open(encoding="utf-8") as lines:
        return [ExampleOrigin.model_validate_json(line) for line in lines]
