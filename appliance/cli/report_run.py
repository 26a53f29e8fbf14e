"""`appliance report RUN_OR_BUNDLE`: what came of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.errors import UsageError

if TYPE_CHECKING:
    from appliance.reports.record import RunReport


def tell_run(target: Path, page: Path | None, *, as_json: bool, as_markdown: bool) -> None:
    """Print what came of a run, or write it.

    Args:
        target: a run or a bundle.
        page: where to write the page; None for nowhere.
        as_json: print everything as one JSON object, file by file.
        as_markdown: print the first page as markdown.

    Raises:
        ApplianceError: it is neither a run nor a bundle, or its report cannot be read.
    """
    from appliance.bundle.keys import locate_keys
    from appliance.bundle.signing import tell_signers
    from appliance.cli.output import print_json, print_row
    from appliance.reports.read import MAX_FILES, read_report

    report = read_report(target, None if as_json else MAX_FILES)
    report = report.model_copy(update={"signed": tell_signers(target, locate_keys())})
    if page is not None:
        from appliance.files import write_text
        from appliance.reports.page import render_run

        write_text(page, render_run(report))
    if as_json:
        print_json(report)
    elif as_markdown:
        from appliance.reports.markdown import write_markdown

        click.echo(write_markdown(report), nl=False)
    else:
        _show(report, target)
    if page is not None:
        print_row("Page", str(page), to_stderr=True)


def refuse_machine_options(given: dict[str, object]) -> None:
    """Options about the machine say nothing about a run.

    Raises:
        UsageError: one was given.
    """
    named = [name for name, value in given.items() if value]
    if named:
        raise UsageError(
            f"{named[0]} is about the machine, not about a run",
            why="a run or a bundle was named, so that is told",
            fix=f"leave {named[0]} out, or leave the run out",
        )


def _show(report: RunReport, target: Path) -> None:
    from appliance.cli.output import print_row
    from appliance.reports.first_page import list_checks, list_next_steps, make_tiles
    from appliance.reports.page import show_text
    from appliance.reports.words import STATES, write_headline, write_subject
    from appliance.reports.write import PAGE, PUBLIC_PAGE

    signs = {True: "holds", False: "does not", None: "not known"}
    print_row("In short", show_text(write_headline(report)), show_text(write_subject(report)))
    print_row("State", STATES[report.state])
    for tile in make_tiles(report):
        print_row("", f"{tile.name}: {tile.figure} ({tile.detail})")
    for check in list_checks(report):
        print_row(signs[check.passed].capitalize(), f"{check.name}: {check.measured}")
    for number, (word, text) in enumerate(list_next_steps(report)):
        print_row("Next" if number == 0 else "", f"{word}: {show_text(text)}")
    for name in (PAGE, PUBLIC_PAGE):
        if (target / name).is_file():
            print_row("Page", str(target / name))
