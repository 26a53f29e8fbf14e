"""`appliance report`: what came of a run; or what this machine can do, and what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.errors import UsageError

if TYPE_CHECKING:
    from appliance.cli.report_data import Imagined

EXAMPLE = """
\b
Example:
  appliance report
  appliance report --measure --html report.html
  appliance report --what-if "RTX 4090" --ram 64
  appliance report --base Qwen/Qwen3-8B
  appliance report --json | jq .findings
  appliance report --airgap
  appliance report runs/company_docs-c8a31b --html report.html
  appliance report runs/company_docs-c8a31b --markdown
"""


@click.command(epilog=EXAMPLE)
@click.argument(
    "target", metavar="[RUN_OR_BUNDLE]", required=False, type=click.Path(path_type=Path)
)
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
@click.option("--airgap", is_flag=True, help="Prove that nothing leaves this machine (minutes).")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page for people too: one file, which fetches nothing.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Of a run: its first page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
def report(
    target: Path | None,
    base: str | None,
    runs: Path,
    measure: bool,
    card: str | None,
    ram: float | None,
    disk: float | None,
    airgap: bool,
    page: Path | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Tell what came of a run; without one, what this machine can tune and serve.

    RUN_OR_BUNDLE is a folder below `runs`, or a bundle. A run has its page already, `report.html`;
    this renders it again, also of a run that was refused or is under way. The page of a run names
    files of the documents, that of a bundle names none.
    """
    if page is not None and not page.absolute().parent.is_dir():
        raise UsageError(
            f"{page} cannot be written",
            why=f"there is no folder {page.absolute().parent}",
            fix="make the folder first, or choose another place with --html",
        )
    if target is not None:
        from appliance.cli.report_run import refuse_machine_options, tell_run

        about_machine = {
            "--base": base,
            "--measure": measure,
            "--what-if": card,
            "--airgap": airgap,
        }
        refuse_machine_options(about_machine | {"--ram": ram, "--disk": disk})
        if as_json and as_markdown:
            raise UsageError(
                "--json and --markdown exclude each other",
                why="stdout holds one of them",
                fix="leave one out",
            )
        tell_run(target, page, as_json=as_json, as_markdown=as_markdown)
        return
    if as_markdown:
        raise UsageError(
            "--markdown tells of a run",
            why="no run was named",
            fix="appliance report RUN --markdown; for the machine: --html or --json",
        )
    if airgap:
        from appliance.cli.report_airgap import tell_airgap

        tell_airgap(as_json=as_json)
        return
    from appliance.cli.report_data import Imagined

    imagined = Imagined(card=card, ram_gib=ram, disk_gib=disk)
    _tell_machine(base, runs, imagined, page, measure=measure, as_json=as_json)


def _tell_machine(
    base: str | None,
    runs: Path,
    imagined: Imagined,
    page: Path | None,
    *,
    measure: bool,
    as_json: bool,
) -> None:
    from appliance.cli.output import print_json, print_row
    from appliance.cli.report_data import make_report

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
