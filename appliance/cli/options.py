"""Arguments that verbs share: which documents, which base, which decisions, and who does it."""

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
        click.option(
            "--recipe",
            type=click.Path(path_type=Path),
            help="A name (appliance recipes list) or a file.",
        ),
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


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that decide who does a job, and from where on."""
    decorators = (
        click.option(
            "--without",
            multiple=True,
            metavar="FILE",
            help="A file that must not be used, nor any copy of it; or its sha256.",
        ),
        click.option("--fresh", is_flag=True, help="Forget what an earlier attempt did."),
        click.option(
            "--force", is_flag=True, help="Pack the model even if the verdict is against it."
        ),
        click.option(
            "--detach", is_flag=True, help="Leave the job to the service and return at once."
        ),
        click.option("--here", is_flag=True, help="Do it in this process, though a service runs."),
        click.option("--priority", default=0, show_default=True, help="In the service's queue."),
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
