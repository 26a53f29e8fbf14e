"""Every figure of a value as a row: its key, and the figure as it is written.

Nothing is chosen here, so that nothing can be forgotten: a field that a value gets tomorrow stands
on the page tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_ITEMS = 200
"""Of a list in a value; ours have some dozens."""

MAX_TEXT = 400
"""Characters of a text in a value."""


def list_figures(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of a value as JSON, with the way to each.

    Args:
        value: as JSON.
        key: of the value itself.
    """
    if isinstance(value, dict):
        for name, each in value.items():
            yield from list_figures(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for number, each in enumerate(value[:MAX_ITEMS]):
            yield from list_figures(each, f"{key}[{_name_item(each, number)}]")
        if len(value) > MAX_ITEMS:
            yield key, f"and {len(value) - MAX_ITEMS:,} more"
    elif value not in ("", None):
        yield key, write_figure(value)


def write_figure(value: float | str | bool) -> str:
    """As the appendix writes it: whole numbers in full, others to six digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}…"


def _name_item(item: Any, number: int) -> str:
    """An item of a list is called by its name where it has one."""
    if isinstance(item, dict):
        for name in ("rung", "name", "choice", "key"):
            if isinstance(item.get(name), str):
                return str(item[name])
    return str(number)
