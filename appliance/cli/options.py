"""Arguments that `tune` and `plan` share: which documents, which base, which decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def job_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the folder of documents and the options that decide what a job is."""
    decorators = (
        click.argument("documents", type=click.Path(path_type=Path)),
        click.option(
            "--base",
            help="A name (appliance bases list), a model folder, or 'embedded'. "
            "Default: the largest that fits.",
        ),
        click.option("--recipe", type=click.Path(path_type=Path), help="A recipe file (YAML)."),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one key."
        ),
        click.option(
            "--runs",
            type=click.Path(path_type=Path),
            help="Where runs are kept; names a place of your own. Default: runs",
        ),
        click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON object, nothing else."
        ),
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
