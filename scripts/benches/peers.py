"""Programs that this one is measured beside, each in a virtual environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 1200


def make_peer(folder: Path, packages: Sequence[str]) -> Path | None:
    """Install packages of fixed versions, once.

    Args:
        folder: of the environment; one that is whole is used again.
        packages: as for pip; what they need besides is taken from constraints.txt.

    Returns:
        Its Python; None, and a line that says why, where it cannot be installed.
    """
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(packages)
    if done.exists() and done.read_text() == wanted:
        return python
    click.echo(f"installing {', '.join(packages)}", err=True)
    constraints = ["--constraint", str(ROOT / "constraints.txt"), "--only-binary", ":all:"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *constraints, *packages],
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        click.echo(f"left out: installing took over {INSTALL_SECONDS} s", err=True)
        return None
    except subprocess.CalledProcessError as exc:
        lines = (exc.stderr or "").strip().splitlines() or ["no environment could be made"]
        click.echo(f"left out: {lines[-1]}", err=True)
        return None
    done.write_text(wanted)
    return python
