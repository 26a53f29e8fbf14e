"""How fast something comes along, and how long the rest will take."""

from __future__ import annotations

from collections import deque

from appliance.units import format_seconds

FEW_SECONDS = 3.0
"""Before that nobody can say."""

RECENT_SECONDS = 20.0
"""What counts: a reading that goes on after a kill runs through what it knows at another speed."""


class Pace:
    """Rate and time left of one stage, from the moments at which it tells how far it is."""

    def __init__(self) -> None:
        """Nothing has been told."""
        self._marks: deque[tuple[float, int]] = deque()

    def describe(self, now: float, done: int, total: int, unit: str) -> str:
        """How far, how fast, how long still: `120/611 files  26 files/s  19 s left`.

        Args:
            now: seconds of a steady clock.
            done: so many are done.
            total: of so many.
            unit: what is counted.
        """
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RECENT_SECONDS:
            self._marks.popleft()
        seconds, num = now - self._marks[0][0], done - self._marks[0][1]
        text = f"{done:,}/{total:,} {unit}"
        if seconds < FEW_SECONDS or not num:
            return text
        rate = num / seconds
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{text}  {shown} {unit}/s  {format_seconds((total - done) / rate)} left"
