"""Pages for people: one file each, which fetches nothing and can be mailed, printed or archived.

Whatever is written into a page goes through `show_text`: names of files are chosen by strangers.
"""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.reports.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from appliance.reports.data_pages import make_data_pages
from appliance.reports.first_page import make_first_page, make_tiles
from appliance.reports.origin_pages import make_origin_pages
from appliance.reports.record import RunReport
from appliance.reports.result_pages import make_result_pages
from appliance.reports.training_pages import make_training_pages
from appliance.reports.words import STATES, write_headline, write_subject

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"

MAX_CELL = 160
"""Characters of a text in a page; the middle of a longer one is left out."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that are not seen, or that turn the text around them."""


def render_run(report: RunReport) -> str:
    """The page of a run as HTML."""
    return (
        make_environment(TEMPLATES)
        .get_template("run.html.j2")
        .render(
            report=report,
            state=STATES[report.state],
            headline=write_headline(report),
            subject=write_subject(report),
            made_on=format_day(report.made_at),
            tiles=make_tiles(report),
            first=make_first_page(report),
            others=(
                *make_training_pages(report),
                *make_data_pages(report),
                *make_result_pages(report),
                *make_origin_pages(report),
            ),
            size={
                "width": WIDTH,
                "height": HEIGHT,
                "left": LEFT,
                "right": WIDTH - RIGHT,
                "top": TOP,
                "bottom": HEIGHT - BOTTOM,
            },
        )
    )


def make_environment(*folders: Path) -> jinja2.Environment:
    """An environment whose templates escape everything, and say so when a name is missing.

    Args:
        folders: of templates; those that all pages share are there besides.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        finalize=_show,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shorten"] = lambda text: show_text(str(text), MAX_CELL)
    return environment


def show_text(text: str, most: int | None = None) -> str:
    """A text that can be seen as it is: what is unseen, or turns text around, is spelt out.

    Args:
        text: from anywhere.
        most: characters at most; None for all.

    Source: Boucher and Anderson, "Trojan Source" (2021): characters that reorder what is read.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]} … {text[-most // 2 :]}"
    if text.isprintable():
        return text
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in _UNSEEN else letter
        for letter in text
    )


def format_day(seconds: float) -> str:
    """`3 May 2026, 14:05`."""
    return time.strftime("%d %B %Y, %H:%M", time.localtime(seconds)).lstrip("0")


def _show(value: Any) -> Any:
    """What a template writes: texts are cleaned before they are escaped; the rest as it is."""
    return show_text(value) if type(value) is str else value
