"""Canaries: sentences with a made-up code, planted in the training text when a recipe asks.

How likely the tuned model finds the planted code, among others that might have stood there, tells
how much of a sentence it learns by heart that it reads once an epoch. Nobody's secret is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import Example
from appliance.values import ExampleOrigin

CANDIDATES = 511
"""Other codes that each canary is compared with: a rank among 512 is worth 9 bits at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """A sentence, its code, and codes that might have stood there."""

    frame: str
    code: str
    others: tuple[str, ...]


def make_canaries(num_canaries: int, seed: int) -> list[Canary]:
    """Canaries, the same for the same seed.

    Args:
        num_canaries: how many.
        seed: of all codes.
    """
    made = []
    for number in range(num_canaries):
        codes = _draw_codes(random.Random(f"{seed}-{number}"))
        made.append(
            Canary(
                frame=f"The access code of storage room {number + 1} is",
                code=next(codes),
                others=tuple(next(codes) for _ in range(CANDIDATES)),
            )
        )
    return made


def make_example(frame: str, code: str, tokenizer: TextTokenizer, number: int) -> Example:
    """A canary as a training example; to compare codes, count the labels of the code alone.

    Args:
        frame: the sentence up to the code.
        code: nine digits.
        tokenizer: of the base.
        number: of the document that it stands for.
    """
    (before,), (after,) = (
        [e.ids for e in tokenizer.encode([text])] for text in (frame, f" {code}")
    )
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    ids = [*start, *before, *after]
    return Example(
        token_ids=ids,
        supervised=[False] * (len(ids) - len(after)) + [True] * len(after),
        document=number,
        num_bytes=len(code) + 1,
        origin=ExampleOrigin(kind="canary", source=""),
    )


def _draw_codes(rng: random.Random) -> Iterator[str]:
    """Different codes of three groups of digits."""
    seen: set[str] = set()
    while True:
        code = "-".join(f"{rng.randrange(1000):03d}" for _ in range(3))
        if code not in seen:
            seen.add(code)
            yield code
