"""How fast something comes along, and how long the rest will take."""

from __future__ import annotations

from appliance.units import format_seconds

FEW_SECONDS = 3.0
"""Before that nobody can say."""


class Pace:
    """Rate and time left of one stage, from the moments at which it tells how far it is."""

    def __init__(self) -> None:
        """Nothing has been told."""
        self._first: tuple[float, int] | None = None
        self._last = 0

    def describe(self, now: float, done: int, total: int, unit: str) -> str:
        """How far, how fast, how long still: `120/611 files  26 files/s  19 s left`.

        Args:
            now: seconds of a steady clock.
            done: so many are done.
            total: of so many.
            unit: what is counted.
        """
        if self._first is None or done < self._last:
            self._first = now, done
        self._last = done
        seconds, num = now - self._first[0], done - self._first[1]
        text = f"{done:,}/{total:,} {unit}"
        if seconds < FEW_SECONDS or not num:
            return text
        rate = num / seconds
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{text}  {shown} {unit}/s  {format_seconds((total - done) / rate)} left"
