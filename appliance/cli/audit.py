"""`appliance audit`: whether the log of the dashboard is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.errors import UsageError

if TYPE_CHECKING:
    from appliance.web.audit import Head

EXAMPLE = """
\b
Example:
  appliance audit verify
  appliance audit head > head-of-today.json      keep it elsewhere
  appliance audit verify --head head-of-today.json
"""

state_option = click.option(
    "--state", type=click.Path(path_type=Path), help="Where the dashboard keeps its log."
)


@click.group(epilog=EXAMPLE)
def audit() -> None:
    """Check the log of who did what in the dashboard.

    Every line holds the hash of the one before; the last is signed. Whoever may write the files of
    the dashboard could begin the log anew: heads that are kept elsewhere show that.
    """


@audit.command()
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A head that was kept elsewhere; the log must contain it.",
)
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
def verify(heads: tuple[Path, ...], state: Path | None, as_json: bool) -> None:
    """Check that no line was changed, taken out, moved or cut off."""
    from appliance.cli.output import print_json, print_row
    from appliance.web.audit import AuditLog
    from appliance.web.places import find_folder

    log = AuditLog(find_folder(state))
    num_lines = log.verify(*[_read_head(path) for path in heads])
    if as_json:
        print_json({"num_lines": num_lines, "num_heads": len(heads), "is_whole": True})
        return
    kept = f", and holds {len(heads)} kept head{'s' if len(heads) > 1 else ''}" if heads else ""
    print_row("Audit log", f"whole: {num_lines:,} lines{kept}")


@audit.command()
@state_option
def head(state: Path | None) -> None:
    """Print the signed head of the log, to be kept elsewhere."""
    from appliance.cli.output import print_json
    from appliance.web.audit import AuditLog
    from appliance.web.places import find_folder

    folder = find_folder(state)
    found = AuditLog(folder).read_head()
    if found is None:
        raise UsageError(
            "there is no audit log yet",
            why=f"nothing was logged in {folder}",
            fix="it begins with the first `appliance dashboard`",
        )
    print_json(found)


def _read_head(path: Path) -> Head:
    from pydantic import ValidationError

    from appliance.web.audit import Head

    try:
        return Head.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise UsageError(
            f"{path} is not a head of an audit log",
            why=(exc.strerror or "").lower() if isinstance(exc, OSError) else "it holds no head",
            fix="name a file that `appliance audit head` was written to",
        ) from exc
