"""What passes through the backward pass around its peak, as coefficients: read off the tracker.

Letters and source as in `activations.py`, which does the sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["low-rank", "bottleneck", "full", "frozen"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passing:
    """Bytes alive around a moment of the backward pass, beyond what was saved.

    Attributes:
        width: times D, for a token.
        inner: times I, for a token.
        rank: times R, for a token.
        has_matrix: whether a plain matrix of the widest layer is there: a base matrix unpacked
            from NF4, or (full) the gradient of one.
    """

    width: int = 0
    inner: int = 0
    rank: int = 0
    has_matrix: bool = False


FINAL_NORM: dict[Family, tuple[int, int]] = {
    "low-rank": (20, 20),
    "bottleneck": (20, 20),
    "full": (16, 18),
    "frozen": (20, 20),
}
"""Backward pass of the final norm, times D for a token: in fp32, in bfloat16."""

PASSING: dict[tuple[Family, int, bool], tuple[Passing, ...]] = {
    ("low-rank", 4, False): (Passing(inner=8, rank=-4), Passing(inner=4, rank=4, has_matrix=True)),
    ("low-rank", 4, True): (
        Passing(width=-4, inner=8, rank=-4),
        Passing(width=-4, inner=4, rank=-4, has_matrix=True),
    ),
    ("low-rank", 2, False): (
        Passing(width=-2, inner=4),
        Passing(width=-2, rank=-4, has_matrix=True),
    ),
    ("low-rank", 2, True): (
        Passing(width=8, inner=4, rank=-4),
        Passing(width=-2, rank=-4, has_matrix=True),
    ),
    ("frozen", 4, False): (Passing(inner=12), Passing(inner=4, has_matrix=True)),
    ("frozen", 4, True): (Passing(width=-4, inner=12), Passing(width=-4, inner=4, has_matrix=True)),
    ("frozen", 2, False): (Passing(width=-2, inner=4), Passing(width=-2, has_matrix=True)),
    ("frozen", 2, True): (Passing(width=-2, inner=4), Passing(width=-2, has_matrix=True)),
    ("bottleneck", 4, False): (
        Passing(inner=12, rank=-16),
        Passing(inner=4, rank=-16, has_matrix=True),
    ),
    ("bottleneck", 4, True): (
        Passing(width=-4, inner=12, rank=-16),
        Passing(width=-4, inner=4, rank=-16, has_matrix=True),
    ),
    ("bottleneck", 2, False): (
        Passing(width=-4, inner=6, rank=-16),
        Passing(width=-4, inner=2, rank=-16, has_matrix=True),
    ),
    ("bottleneck", 2, True): (
        Passing(width=-4, inner=6, rank=-16),
        Passing(width=-4, inner=2, rank=-16, has_matrix=True),
    ),
    ("full", 4, False): (
        Passing(width=-4, inner=8),
        Passing(width=-4, inner=4, has_matrix=True),
    ),
    ("full", 4, True): (
        Passing(width=-8, inner=8),
        Passing(width=-8, inner=4, has_matrix=True),
    ),
    ("full", 2, False): (
        Passing(width=-4, inner=4),
        Passing(width=-4, inner=2, has_matrix=True),
    ),
    ("full", 2, True): (
        Passing(width=-4, inner=4),
        Passing(width=-4, inner=2, has_matrix=True),
    ),
}
"""Backward pass of the top layer's MLP, by family, bytes of the compute type, and recomputation
(whose layer comes on top): the gradients of its channels, or fewer of them beside a plain matrix.
Negative where something that was saved is gone by then."""
