"""Numbers as people read them. Inside the program there are only bytes, tokens and seconds."""

from __future__ import annotations

from collections.abc import Mapping

GIB = 2**30
MIB = 2**20


def format_bytes(num_bytes: float) -> str:
    """`11.8 GiB`, `26 MiB`, `512 B`."""
    for unit, size in (("TiB", 2**40), ("GiB", GIB), ("MiB", MIB), ("KiB", 2**10)):
        if abs(num_bytes) >= size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{num_bytes:.0f} B"


def format_count(number: float) -> str:
    """`9,812`, `3.1 M`, `7.2 B`."""
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if abs(number) >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,.0f}"


def format_seconds(seconds: float) -> str:
    """`52 min`, `3 h 10 min`, `8.4 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_share(share: float) -> str:
    """`98.7 %`."""
    return f"{100 * share:.1f} %"


def format_tally(counts: Mapping[str, int]) -> str:
    """`20 email, 3 api key`, the most frequent first; `nothing`."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in rows) or "nothing"
