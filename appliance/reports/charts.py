"""The drawings of a report: how training went, which rates were tried, how fast it read.

Only geometry: places in a drawing of WIDTH by HEIGHT, which scales with the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from appliance.reports.axes import Scale, choose_ticks, join_points, make_scale
from appliance.reports.blocks import Mark, Plot, Tick, Trace
from appliance.reports.record import Curves
from appliance.values import RateTrial, TrainPlan, TunedModel

WIDTH, HEIGHT = 520, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 46
"""Room for the texts of the axes."""


def plot_losses(curves: Curves, tuned: TunedModel | None) -> Plot | None:
    """Loss of training and of held-out text by step; None where there is none."""
    finite = [step for step in curves.steps if math.isfinite(step.loss)]
    held_out = [row for row in curves.held_out if math.isfinite(row.loss)]
    if not finite and not held_out:
        return None
    losses = [row.loss for row in finite] + [row.loss for row in held_out]
    last = max([curves.num_steps, *(row.step for row in held_out), 1])
    x, x_ticks = _scale_x(0, last)
    y, y_ticks = _scale_y(min(losses), max(losses))
    kept = tuned.step if tuned else -1
    kept = next((row.step for row in reversed(held_out) if row.step == kept), -1)
    marks = [
        Mark(
            x=x(row.step),
            y=y(row.loss),
            text=f"kept: {row.loss:.3f}" if row.step == kept else "",
            style="best" if row.step == kept else "plain",
        )
        for row in held_out
    ]
    marks += [Mark(x=x(row.step), y=TOP, style="bad") for row in curves.ways_back]
    fell = "; the red marks are where training fell ill and went back" if curves.ways_back else ""
    return Plot(
        title="Loss",
        x_name="step",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        traces=(
            Trace(
                name="training",
                path=join_points((x(row.step), y(row.loss)) for row in finite),
                style="faint",
            ),
            Trace(
                name="held-out documents",
                path=join_points((x(row.step), y(row.loss)) for row in held_out),
            ),
        ),
        marks=marks,
        note=f"Nats per supervised token{fell}.",
    )


def plot_trials(trials: Sequence[RateTrial]) -> Plot | None:
    """Held-out loss after a short training by learning rate; None where none was tried."""
    tried = [trial for trial in trials if trial.loss is not None and math.isfinite(trial.loss)]
    if len(trials) < 2 or not tried:
        return None
    rates = [math.log10(trial.lr) for trial in trials]
    margin = max(0.15, 0.12 * (max(rates) - min(rates)))
    x, _ = _scale_x(min(rates) - margin, max(rates) + margin)
    losses = [trial.loss for trial in tried if trial.loss is not None]
    y, y_ticks = _scale_y(min(losses), max(losses))
    best = min(losses)
    places = sorted(
        (x(math.log10(trial.lr)), y(trial.loss), trial) for trial in tried if trial.loss
    )
    return Plot(
        title="Learning rates that were tried",
        x_name="learning rate",
        x_ticks=[Tick(at=x(math.log10(trial.lr)), text=f"{trial.lr:g}") for trial in trials],
        y_ticks=y_ticks,
        traces=(Trace(name="held-out loss", path=join_points((a, b) for a, b, _ in places)),),
        marks=[
            Mark(
                x=a,
                y=b,
                text=f"{trial.loss:.3f}",
                style="best" if trial.loss == best else "plain",
            )
            for a, b, trial in places
        ],
        note="Held-out loss after a few steps with each; a rate without a dot diverged."
        if len(tried) < len(trials)
        else "Held-out loss after a few steps with each; the lowest was taken.",
    )


def plot_speed(curves: Curves, plan: TrainPlan | None) -> Plot | None:
    """Tokens a second by step, on the range that was planned; None where there is none."""
    steps = [row for row in curves.steps if row.tokens_per_second > 0]
    if not steps:
        return None
    planned = plan.speed if plan else None
    speeds = [row.tokens_per_second for row in steps]
    x, x_ticks = _scale_x(0, max(curves.num_steps, steps[-1].step))
    y, y_ticks = _scale_y(0, max([*speeds, planned.high if planned else 0]))
    traces = []
    if planned:
        low, high = y(planned.low), y(planned.high)
        band = [(LEFT, low), (LEFT, high), (WIDTH - RIGHT, high), (WIDTH - RIGHT, low)]
        traces.append(Trace(name="planned", path=join_points(band) + "Z", style="band"))
    line = join_points((x(row.step), y(row.tokens_per_second)) for row in steps)
    return Plot(
        title="Speed",
        x_name="step",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        traces=(*traces, Trace(name="measured", path=line)),
        note="Tokens of training a second.",
    )


def plot_rate(curves: Curves) -> Plot | None:
    """Learning rate by step; None where there is none."""
    if not curves.steps:
        return None
    x, x_ticks = _scale_x(0, max(curves.num_steps, curves.steps[-1].step))
    y, y_ticks = _scale_y(0, max(row.lr for row in curves.steps))
    line = join_points((x(row.step), y(row.lr)) for row in curves.steps)
    return Plot(
        title="Learning rate",
        x_name="step",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        traces=(Trace(name="learning rate", path=line),),
        note="As it rose and fell.",
    )


def _scale_x(low: float, high: float) -> tuple[Scale, list[Tick]]:
    place = make_scale(low, high if high > low else low + 1.0, LEFT, WIDTH - RIGHT)
    return place, [Tick(at=place(value), text=f"{value:,.0f}") for value in choose_ticks(low, high)]


def _scale_y(low: float, high: float) -> tuple[Scale, list[Tick]]:
    """With a margin, but never below nought for what cannot be."""
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    bottom, top = max(0.0, low - margin) if low >= 0 else low - margin, high + margin
    place = make_scale(bottom, top, HEIGHT - BOTTOM, TOP)
    ticks = choose_ticks(bottom, top)
    return place, [Tick(at=place(value), text=f"{value:,.10g}") for value in ticks]
