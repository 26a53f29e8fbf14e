"""The named statements of `queries.sql`: each begins with a line `-- name: NAME`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("queries.sql")


def sql(name: str) -> str:
    """The statement of this name."""
    return load_statements()[name]


@cache
def load_statements() -> dict[str, str]:
    """Every statement by its name; read once."""
    _, *parts = re.split(r"^-- name: (\w+)\n", _FILE.read_text(encoding="utf-8"), flags=re.M)
    names, bodies = parts[::2], parts[1::2]
    assert len(set(names)) == len(names), "a name stands twice in queries.sql"
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}
