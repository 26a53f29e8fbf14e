"""The first page of a report as markdown, for tickets and mails.

The model card of the bundle tells the rest; this links to it, and repeats nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from appliance.reports.first_page import list_checks, list_next_steps, make_tiles
from appliance.reports.page import format_day, show_text
from appliance.reports.record import RunReport
from appliance.reports.words import NOT_MEASURED, STATES, WAYS, write_headline, write_subject
from appliance.units import format_seconds

_MARKS = re.compile(r"([\\`*_{}\[\]<>|#])")
_SIGNS = {True: "holds", False: "does not hold", None: "not known"}


def write_markdown(report: RunReport) -> str:
    """Headline, key figures, ways of answering, conditions, next steps."""
    parts = [
        f"# {_escape(write_headline(report))}",
        _escape(write_subject(report)),
        f"Run {_escape(report.name) or 'of a bundle'}, {STATES[report.state]}, told on "
        f"{format_day(report.made_at)}.",
        _tabulate(("", "", ""), [(t.name, t.figure, t.detail) for t in make_tiles(report)]),
        "## Which way answers best",
        _tell_ways(report),
        "## What had to hold",
        _tabulate(
            ("", "", "measured", "had to hold"),
            [(_SIGNS[c.passed], c.name, c.measured, c.limit) for c in list_checks(report)],
        ),
        "## What to do next",
        "\n".join(
            f"- **{_escape(word)}**: {_escape(text)}" for word, text in list_next_steps(report)
        ),
    ]
    if report.bundle is not None or report.form == "public":
        place = "MODEL_CARD.md" if report.form == "public" else "bundle/MODEL_CARD.md"
        parts.append(f"Training, evaluation and parity in full: [model card]({place}).")
    return "\n\n".join(part for part in parts if part) + "\n"


def _tell_ways(report: RunReport) -> str:
    ways = report.evaluation.ways if report.evaluation else ()
    if not ways:
        return f"{NOT_MEASURED.capitalize()}."
    return _tabulate(
        ("way", "score", "95 % interval", "an answer takes"),
        [
            (
                WAYS.get(way.name, way.name),
                f"{way.score:.2f}",
                f"{way.low:.2f} to {way.high:.2f}",
                format_seconds(way.seconds),
            )
            for way in ways
        ],
    )


def _tabulate(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    return _MARKS.sub(r"\\\1", show_text(text))
