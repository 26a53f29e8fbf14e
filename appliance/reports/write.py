"""Reports as files: the private one beside a run, the public one inside a bundle."""

from __future__ import annotations

from pathlib import Path

from appliance.files import write_text
from appliance.reports.page import render_run
from appliance.reports.read import MAX_FILES, REPORT, publish, read_run

PAGE = "report.html"
"""Name of the page beside a run."""

PUBLIC_PAGE = "reports/report.html"
"""Name of the page inside a bundle."""


def write_private(run: Path, signed: str = "") -> Path:
    """Write the page of a run into its folder: it names files of the documents.

    Args:
        run: finished, refused, failed, or under way.
        signed: who vouches for its bundle, in words; "" where nobody looked.

    Returns:
        The page.
    """
    report = read_run(run, MAX_FILES).model_copy(update={"signed": signed})
    write_text(run / PAGE, render_run(report))
    return run / PAGE


def write_public(run: Path, bundle: Path) -> None:
    """Write the report that goes with a bundle: no name of a file, a folder or a machine.

    Args:
        run: all stages before the bundle are done.
        bundle: a folder that is being filled; its reports lie there.
    """
    report = publish(read_run(run, max_files=0))
    report = report.model_copy(update={"state": "finished", "bundle": None, "ending": None})
    write_text(bundle / REPORT, report.model_dump_json(indent=1) + "\n")
    write_text(bundle / PUBLIC_PAGE, render_run(report))
