"""`appliance documents`: what changed in a folder since a run, and which runs used a file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from appliance.documents.provenance import FileUse

EXAMPLE = """
\b
Example:
  appliance documents diff runs/company_docs-c8a31b ./company_docs
  appliance documents where ./company_docs/prices.xlsx
"""

_SPLITS = {"train": "trained on", "valid": "used for choices", "test": "held out for the verdict"}
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")


@click.group(epilog=EXAMPLE)
def documents() -> None:
    """Compare a folder with a run, and find the runs that used a file."""


@documents.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@_json
def diff(run: Path, folder: Path, as_json: bool) -> None:
    """Tell which files of FOLDER were added, changed or removed since RUN read them.

    Files are compared by the hash of their bytes. The next `tune` on the folder converts only what
    is new or changed, as long as the run is kept.
    """
    from appliance.cli.output import print_json, print_row
    from appliance.documents.provenance import compare_folder

    changes = compare_folder(run, folder)
    if as_json:
        print_json(changes)
        return
    for label, names in (
        ("Added", changes.added),
        ("Changed", changes.changed),
        ("Removed", changes.removed),
    ):
        print_row(label, f"{len(names):,}", *names)
    print_row("Unchanged", f"{changes.num_unchanged:,}")


@documents.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
@_json
def where(file: Path, runs: Path, as_json: bool) -> None:
    """Tell which runs and bundles were trained on FILE, and how to be rid of it.

    It is found by the hash of its bytes, under any name and inside zip files; by its name alone if
    its bytes are others now, or if it is gone. The command that is told makes the same model anew
    without the file and all that say the same; the old runs have to be removed by hand.
    """
    from appliance.cli.erasure import write_retunes
    from appliance.cli.output import print_json, print_row
    from appliance.documents.provenance import find_uses

    uses = find_uses(file, runs)
    commands = write_retunes(uses)
    if as_json:
        rows = [use.model_dump(mode="json") | {"trained_on": use.is_trained_on} for use in uses]
        print_json({"file": str(file), "runs": str(runs), "uses": rows, "without_it": commands})
        return
    if not uses:
        print_row("Nowhere", f"no run in {runs} read {file.name}")
    for use in uses:
        print_row("Run", use.run, *_tell(use))
    for run, command in commands.items():
        print_row("Without it", "the model is made anew by")
        click.echo(command)  # in one piece, to be copied
        print_row("Then", f"rm -r {shlex.quote(run)}, and every copy of its bundle")


def _tell(use: FileUse) -> list[str]:
    version = "these bytes" if use.is_same else "other bytes under this name"
    lines = [f"{use.path} · {version}"]
    if use.duplicate_of:
        lines.append(f"duplicate: {use.duplicate_of} was used in its place")
    elif use.verdict == "skipped":
        lines.append(f"skipped: {use.reason}")
    lines += [", ".join(_SPLITS[split] for split in use.splits)] if use.splits else []
    return [*lines, f"bundle {use.bundle}"] if use.bundle else lines
