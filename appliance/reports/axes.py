"""Geometry that every drawing shares: scales, round figures for an axis, paths of lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

Scale = Callable[[float], float]


def make_scale(low: float, high: float, start: float, end: float) -> Scale:
    """Maps values from `low` to `high` to places from `start` to `end`, in units of a drawing."""

    def place(value: float) -> float:
        return round(start + (end - start) * (value - low) / (high - low), 1)

    return place


def choose_ticks(low: float, high: float, at_most: int = 5) -> list[float]:
    """Round values within a range: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span))
    for factor in (0.1, 0.2, 0.5, 1, 2, 5):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= at_most:
            return [number * step for number in range(first, last + 1)]
    return [low, high]


def join_points(points: Iterable[tuple[float, float]]) -> str:
    """Path of a line through points, as SVG writes it."""
    return "".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
