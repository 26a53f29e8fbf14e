"""Drawings of the pages: lines over steps, and bars. Only geometry; `macros.html` draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.reports.axes import choose_ticks, join_points, make_scale
from appliance.reports.blocks import Tick
from appliance.values import TrainPlan
from appliance.web.curves import Curves

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
"""Room for the texts of the axes."""

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a plot: its points in the drawing, and the style it has in the style sheet."""

    name: str
    style: str
    path: str
    dots: tuple[Point, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Lines over steps.

    Attributes:
        title: what it shows.
        words: the same for those who do not see it.
        band: top and height of the range that was planned; None where there is none.
    """

    title: str
    words: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    band: Point | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Values by step, to be drawn; `dotted` marks each of them."""

    name: str
    style: str
    points: Sequence[Point]
    dotted: bool = False


def plot_loss(curves: Curves) -> Plot | None:
    """Loss of training and of held-out documents; None where there is none yet."""
    series = (
        Series(
            name="training",
            style="train",
            points=[(row.step, row.loss) for row in curves.steps],
        ),
        Series(
            name="held-out documents",
            style="held-out",
            points=[(row.step, row.loss) for row in curves.held_out],
            dotted=True,
        ),
    )
    return plot("Loss", series, last=curves.num_steps, places=3)


def plot_speed(curves: Curves, plan: TrainPlan | None) -> Plot | None:
    """Tokens a second, on the range that was planned; None where there is none yet."""
    points = [(row.step, row.tokens_per_second) for row in curves.steps]
    series = (Series(name="measured", style="train", points=points),)
    speed = plan.speed if plan else None
    band = (speed.low, speed.high) if speed else None
    return plot("Tokens a second", series, last=curves.num_steps, floor=0.0, band=band)


def plot_both(left: Curves, right: Curves) -> Plot | None:
    """Held-out loss of two jobs; None where neither has any."""
    series = tuple(
        Series(
            name=name,
            style=style,
            points=[(row.step, row.loss) for row in curves.held_out],
            dotted=True,
        )
        for name, style, curves in (("left", "held-out", left), ("right", "other", right))
    )
    return plot("Held-out loss", series, last=max(left.num_steps, right.num_steps), places=3)


def plot(
    title: str,
    series: Sequence[Series],
    *,
    last: int,
    floor: float | None = None,
    band: Point | None = None,
    places: int = 0,
) -> Plot | None:
    """Lines over steps.

    Args:
        title: what it shows.
        series: those without a finite point are left out.
        last: step at the right end, at least.
        floor: where the vertical axis begins; None: a little below the lowest value.
        band: range that was planned.
        places: decimals of the figures in words.

    Returns:
        None if there is nothing to draw.
    """
    shown = [(each, [p for p in each.points if math.isfinite(p[1])]) for each in series]
    shown = [(each, points) for each, points in shown if points]
    if not shown:
        return None
    values = [value for _, points in shown for _, value in points] + list(band or ())
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    bottom, top = (low - margin if floor is None else floor), high + margin
    end = max([last, 1, *(step for _, points in shown for step, _ in points)])
    x = make_scale(0, end, LEFT, WIDTH - RIGHT)
    y = make_scale(bottom, top, HEIGHT - BOTTOM, TOP)
    return Plot(
        title=title,
        words=f"{title}: " + "; ".join(_describe(each, points, places) for each, points in shown),
        lines=tuple(
            Line(
                name=each.name,
                style=each.style,
                path=join_points((x(step), y(value)) for step, value in points),
                dots=tuple((x(step), y(value)) for step, value in points) if each.dotted else (),
            )
            for each, points in shown
        ),
        x_ticks=tuple(Tick(at=x(step), text=f"{step:,.0f}") for step in choose_ticks(0, end)),
        y_ticks=tuple(
            Tick(at=y(value), text=f"{value:,.10g}") for value in choose_ticks(bottom, top)
        ),
        band=(y(band[1]), round(y(band[0]) - y(band[1]), 1)) if band else None,
    )


def _describe(series: Series, points: Sequence[Point], places: int) -> str:
    (_, first), (step, latest) = points[0], points[-1]
    return (
        f"{series.name} from {first:,.{places}f} to {latest:,.{places}f} at step {step:,.0f}"
        if len(points) > 1
        else f"{series.name} {latest:,.{places}f} at step {step:,.0f}"
    )
