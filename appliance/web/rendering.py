"""Pages from templates: all text is escaped, nothing is inline, figures are as people read them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from appliance import __version__
from appliance.units import format_bytes, format_count, format_seconds, format_share, format_tally
from appliance.web.charts import plot_both, plot_loss, plot_speed
from appliance.web.desk import Visitor
from appliance.web.words import (
    MEMORY_TERMS,
    STAGES,
    VERBS,
    bind_units,
    describe_doing,
    describe_stages,
    describe_state,
    format_age,
    format_day,
    list_capacity,
)

FOLDER = Path(__file__).parent


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": _bind(format_bytes),
        "count": _bind(format_count),
        "seconds": _bind(format_seconds),
        "share": _bind(format_share),
        "tally": format_tally,
        "age": lambda moment: format_age(moment, time.time()),
        "day": format_day,
        "iso": lambda moment: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
        "bind": bind_units,
        "state": describe_state,
        "doing": describe_doing,
    }
    environment.globals |= {
        "version": __version__,
        "plot_loss": plot_loss,
        "plot_speed": plot_speed,
        "plot_both": plot_both,
        "describe_stages": describe_stages,
        "list_capacity": list_capacity,
        "STAGES": STAGES,
        "MEMORY_TERMS": MEMORY_TERMS,
        "VERBS": VERBS,
    }
    return environment


def prepare() -> None:
    """Read all templates, so that nobody waits for it."""
    for name in _environment().list_templates():
        _environment().get_template(name)


def _bind(write: Callable[[float], str]) -> Callable[[float], str]:
    """Keep a number and its unit on one line."""
    return lambda number: write(number).replace(" ", "\u00a0")


def render(template: str, who: Visitor | None, path: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: its name.
        who: sees it; None before the login.
        path: of the page.
        values: that it draws.
    """
    return _environment().get_template(template).render(who=who, path=path, **values)
