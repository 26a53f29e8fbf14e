"""`appliance report`: what this machine can tune and serve, and what should be mended."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.errors import UsageError

EXAMPLE = """
\b
Example:
  appliance report
  appliance report --measure --html report.html
  appliance report --what-if "RTX 4090" --ram 64
  appliance report --base Qwen/Qwen3-8B
  appliance report --json | jq .findings
"""


@click.command(epilog=EXAMPLE)
@click.option("--base", help="One base only, with reasons: its name or folder. Default: all.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept: its disk is measured.",
)
@click.option("--measure", is_flag=True, help="Measure speeds first (about 10 s), and remember.")
@click.option("--what-if", "card", metavar="CARD", help="Imagine this GPU, such as 'RTX 4090'.")
@click.option(
    "--ram", type=click.FloatRange(min=0.5), metavar="GIB", help="Imagine this much main memory."
)
@click.option(
    "--disk", type=click.FloatRange(min=0), metavar="GIB", help="Imagine this much free disk."
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page for people too: one file, which fetches nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
def report(
    base: str | None,
    runs: Path,
    measure: bool,
    card: str | None,
    ram: float | None,
    disk: float | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Tell what this machine can tune and serve, and what should be mended."""
    from appliance.cli.output import print_json, print_row
    from appliance.cli.report_data import Imagined, make_report

    if page is not None and not page.absolute().parent.is_dir():
        raise UsageError(
            f"{page} cannot be written",
            why=f"there is no folder {page.absolute().parent}",
            fix="make the folder first, or choose another place with --html",
        )
    imagined = Imagined(card=card, ram_gib=ram, disk_gib=disk)
    found = make_report(runs, base, imagined, measure=measure)
    if page is not None:
        from appliance.cli.report_html import render_page
        from appliance.files import write_text

        write_text(page, render_page(found))
    if as_json:
        print_json(found)
    else:
        from appliance.cli.report_text import show_report

        show_report(found, in_detail=base is not None)
    if page is not None:
        print_row("Page", str(page), to_stderr=True)
