"""`appliance daemon`: run the service in this process."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """
\b
Example:
  appliance daemon                        for yourself, in this terminal
  sudo scripts/install                    for the whole machine, under systemd
"""


@click.command(epilog=EXAMPLE)
@click.option("--state", type=click.Path(path_type=Path), help="Where queue and runs are kept.")
@click.option("--settings", type=click.Path(path_type=Path), help="A settings file (YAML).")
@click.option("--socket", type=click.Path(path_type=Path), help="Where to listen.")
def daemon(state: Path | None, settings: Path | None, socket: Path | None) -> None:
    """Run jobs in the background, through crashes and reboots.

    While it runs, `appliance tune` hands its work to it. SIGTERM or Ctrl-C: running jobs save a
    checkpoint, and go on when the daemon is started again. SIGHUP: read the settings again.
    """
    import os

    from appliance.daemon.main import run_daemon
    from appliance.daemon.paths import StateFolder, find_state
    from appliance.errors import RecipeError

    configuration = os.environ.get("CONFIGURATION_DIRECTORY")
    if settings is not None and not settings.exists():
        raise RecipeError(
            f"the settings file {settings} is not there",
            why="no file has this name",
            fix="name an existing file, or leave --settings out: every setting has a default",
        )
    if settings is None and configuration:
        settings = Path(configuration.split(":")[0]) / "daemon.yaml"
    folder = StateFolder(path=state.absolute()) if state else find_state()
    run_daemon(folder, settings, socket)
