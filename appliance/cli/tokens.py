"""`appliance tokens`: who may use the dashboard and its API, what for, and until when."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from appliance.web.tokens import Token

EXAMPLE = """
\b
Example:
  appliance tokens create --name "wall display" --scope read
  appliance tokens create --name anna --scope run --days 90
  appliance tokens create --name "support desk" --scope run --job 12
  appliance tokens revoke anna
"""

DAY_SECONDS = 24 * 3600.0

state_option = click.option(
    "--state", type=click.Path(path_type=Path), help="Where the dashboard keeps its tokens."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, nothing else."
)


@click.group(epilog=EXAMPLE)
def tokens() -> None:
    """Say who may use the dashboard and its API.

    read: figures of machine and jobs, without names of folders and files. run: all of a job, and
    starting and stopping. admin: the audit log too. Only hashes of tokens are kept.
    """


@tokens.command()
@click.option("--name", required=True, help="Who or what uses it.")
@click.option(
    "--scope",
    type=click.Choice(["read", "run", "admin"]),
    default="read",
    show_default=True,
    help="What it allows.",
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=3650, min_open=True),
    default=30.0,
    show_default=True,
    help="Until it ends.",
)
@click.option(
    "--job",
    "jobs",
    type=click.IntRange(min=1),
    multiple=True,
    help="Open this job and its models alone; repeatable. Without it, all.",
)
@state_option
@json_option
def create(
    name: str, scope: str, days: float, jobs: tuple[int, ...], state: Path | None, as_json: bool
) -> None:
    """Make a token and print it, once."""
    from appliance.cli.output import print_json, print_row
    from appliance.web.audit import AuditLog
    from appliance.web.places import find_folder
    from appliance.web.tokens import Scope, create_token

    folder = find_folder(state)
    token, secret = create_token(
        folder, name, cast(Scope, scope), days * DAY_SECONDS, time.time(), jobs
    )
    AuditLog(folder).note("terminal", f"create a token for {scope}", token.id)
    if as_json:
        print_json(token.model_dump(exclude={"sha256"}) | {"token": secret})
        return
    print_row("Token", secret)
    print_row("Scope", f"{_format_scope(token)}, until {_format_day(token.expires_at)}")
    print_row("Keep it", "it is shown this once; only its hash is kept", to_stderr=True)


@tokens.command("list")
@state_option
@json_option
def list_(state: Path | None, as_json: bool) -> None:
    """List the tokens: name, scope, end; never the tokens themselves."""
    from appliance.cli.output import print_json, print_row, print_table
    from appliance.web.places import find_folder
    from appliance.web.tokens import list_tokens

    found = list_tokens(find_folder(state))
    if as_json:
        print_json({"tokens": [token.model_dump(exclude={"sha256"}) for token in found]})
        return
    if not found:
        print_row("Tokens", "none; make one: appliance tokens create --name WHO")
        return
    now = time.time()
    rows = [
        (
            token.id,
            _format_scope(token),
            _format_day(token.expires_at) + ("" if token.expires_at > now else ", over"),
            token.name,
        )
        for token in found
    ]
    print_table(("id", "scope", "ends", "name"), rows)


@tokens.command()
@click.argument("name")
@state_option
def revoke(name: str, state: Path | None) -> None:
    """Take the token called NAME away, by its name or its id; it is refused from now on."""
    from appliance.cli.output import print_row
    from appliance.web.audit import AuditLog
    from appliance.web.places import find_folder
    from appliance.web.tokens import revoke_token

    folder = find_folder(state)
    token = revoke_token(folder, name)
    AuditLog(folder).note("terminal", "revoke a token", token.id)
    print_row("Revoked", f"{token.id} · {token.name}")


def _format_scope(token: Token) -> str:
    return f"{token.scope}, job {' '.join(map(str, token.jobs))}" if token.jobs else token.scope


def _format_day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
