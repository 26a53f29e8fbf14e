"""What verbs print: data on stdout, all else on stderr, and never a colour that carries meaning.

A verb that reports shows rows of a label and a text, or with `--json` exactly one JSON object.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

LABEL_COLUMNS = 11
"""Columns of the label of a row."""

MAX_COLUMNS = 110
"""Longest line on a terminal; longer ones are hard to read."""


def print_json(value: BaseModel | dict[str, Any]) -> None:
    """Print one JSON object on stdout: the only thing there."""
    body = value if isinstance(value, dict) else value.model_dump(mode="json")
    click.echo(json.dumps(body, indent=2, ensure_ascii=False))


def print_row(label: str, text: str, *details: str, to_stderr: bool = False) -> None:
    """Print a row of a report, with further lines under its text.

    On a terminal, long lines are wrapped under the text; in a pipe each stays one line.
    """
    is_terminal = (sys.stderr if to_stderr else sys.stdout).isatty()
    first = click.style(f"{label:<{LABEL_COLUMNS}}", bold=True)
    lines = [line for part in (text, *details) for line in _wrap(part, is_terminal=is_terminal)]
    click.echo(first + f"\n{'':<{LABEL_COLUMNS}}".join(lines), err=to_stderr)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns on stdout, under the text column; the last column may be long."""
    table = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head) - 1)]
    for number, row in enumerate(table):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        indent = LABEL_COLUMNS + sum(widths) + 2 * len(widths)
        last = f"\n{'':<{indent}}".join(_wrap(row[-1], indent, is_terminal=sys.stdout.isatty()))
        line = f"{'':<{LABEL_COLUMNS}}" + "  ".join((*cells, last))
        click.echo(click.style(line, bold=number == 0))


def _wrap(text: str, indent: int = LABEL_COLUMNS, *, is_terminal: bool) -> list[str]:
    if not is_terminal:
        return [text]
    columns = min(shutil.get_terminal_size().columns, MAX_COLUMNS) - indent
    return textwrap.wrap(text, max(20, columns), break_on_hyphens=False) or [""]
