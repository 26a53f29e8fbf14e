"""What a page is made of: sections of blocks. What stands in them is decided in other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A key figure: its name, the figure, and what it stands on."""

    name: str
    figure: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows below a head.

    Attributes:
        align: a letter a column: "l" names, "x" sentences, "p" paths, "n" words that stay whole,
            "r" figures, "m" hashes and keys.
        caption: above it; "" for none.
        note: below it; "" for none.
        is_dense: small letters, for what is looked up rather than read.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    caption: str = ""
    note: str = ""
    is_dense: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A condition: whether it holds (None: not measured), what was measured, what had to hold."""

    name: str
    passed: bool | None
    measured: str
    limit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """Conditions below each other."""

    rows: Sequence[Check]
    kind: Literal["checks"] = "checks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A bar, in percent of the width, and the figure beside it.

    Attributes:
        start: where it begins; `end` is where it ends.
        dot: of an interval, where its middle is.
        ghost: end of the bar behind it: what was planned.
    """

    name: str
    start: float
    end: float
    figure: str
    style: Literal["plain", "best"] = "plain"
    dot: float | None = None
    ghost: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Bars on one scale."""

    rows: Sequence[Bar]
    caption: str = ""
    note: str = ""
    kind: Literal["bars"] = "bars"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a stacked bar: its width in percent, its shade from 0."""

    name: str
    percent: float
    figure: str
    shade: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """A whole by its parts, above a bar to compare it with."""

    name: str
    parts: Sequence[Part]
    figure: str
    other: Bar | None
    note: str = ""
    kind: Literal["stack"] = "stack"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark of an axis: its place in the units of the drawing, and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A dot, with a text beside it, perhaps."""

    x: float
    y: float
    text: str = ""
    style: Literal["plain", "best", "bad"] = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """A line of a drawing: its path, and how it looks."""

    name: str
    path: str
    style: Literal["plain", "faint", "band"] = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A drawing of lines and dots; all places are in the units of `charts.WIDTH` and `HEIGHT`."""

    title: str
    x_name: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    traces: Sequence[Trace] = ()
    marks: Sequence[Mark] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plots:
    """Drawings beside each other."""

    plots: Sequence[Plot]
    kind: Literal["plots"] = "plots"


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """A list; each has a lead word and a text."""

    rows: Sequence[tuple[str, str]]
    kind: Literal["items"] = "items"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A sentence or two."""

    text: str
    kind: Literal["note"] = "note"


Block = Table | Checks | Bars | Stack | Plots | Items | Note


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading, a sentence that says what is below, and that; in columns where there is room."""

    title: str
    lead: str = ""
    blocks: Sequence[Block] = ()
    in_columns: bool = False
