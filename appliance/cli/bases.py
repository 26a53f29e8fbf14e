"""`appliance bases`: which base models there are, and bringing, checking and removing them."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Never

import click

if TYPE_CHECKING:
    from appliance.bases.importing import Offer

EXAMPLE = """
\b
Example:
  appliance bases list
  appliance bases show Qwen/Qwen3-0.6B
  appliance bases add /media/stick/Qwen3-0.6B
  appliance tune ./company_docs --base Qwen/Qwen3-0.6B
"""

EXAMPLE_ADD = """
\b
Example:
  appliance bases add /media/stick/Qwen3-0.6B
  appliance bases add ./qwen3.tar.gz --name Qwen/Qwen3-0.6B --yes
"""

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(epilog=EXAMPLE)
def bases() -> None:
    """List, show, import, check and remove base models.

    Nothing is ever downloaded. Bases lie in $APPLIANCE_BASES (default: `appliance/bases` in your
    data folder) and in /var/lib/appliance/bases; models in the local cache of a hub client are
    found too.
    """


@bases.command(name="list")
@click.option("--all", "show_all", is_flag=True, help="Also those that cannot be tuned here.")
@_json
def list_bases(show_all: bool, as_json: bool) -> None:
    """Show the bases that are present, then those worth bringing."""
    from appliance.bases.store import locate_store, sweep_store
    from appliance.cli.bases_data import collect_list
    from appliance.cli.bases_text import show_list
    from appliance.cli.output import print_json

    sweep_store(locate_store())
    if as_json:
        print_json(collect_list())
    else:
        show_list(show_all=show_all)


@bases.command()
@click.argument("name")
@_json
def show(name: str, as_json: bool) -> None:
    """Show what is known of the base NAME: its shape, its licence, what it needs."""
    from appliance.cli.bases_data import collect_base
    from appliance.cli.bases_text import show_base
    from appliance.cli.output import print_json

    if as_json:
        print_json(collect_base(name))
    else:
        show_base(name)


@bases.command(epilog=EXAMPLE_ADD)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it. Default: its name on the hub, if it is known.")
@_yes
@_json
def add(path: Path, name: str | None, yes: bool, as_json: bool) -> None:
    """Import the model in PATH: a folder, or a .zip, .tar or .tar.gz of one.

    It is copied, checked, and shown with its licence; only then it gets its name. Refused, each
    with the reason: code, pickles, links, names that lead elsewhere, archives that flood, weights
    that are damaged or do not fit their configuration.
    """
    from appliance.bases.importing import add_base
    from appliance.bases.store import locate_store
    from appliance.cli.bases_text import describe_offer
    from appliance.cli.output import print_json, print_row

    _require_answer(yes)

    def agree(offer: Offer) -> bool:
        for label, text in describe_offer(offer):
            print_row(label, text, to_stderr=True)
        return yes or _ask(f"Add {offer.spec.name}?", default=True)

    with _stop_on_signals(), _draw_progress("Copied") as on_progress:
        manifest = add_base(path, locate_store(), agree, name=name, on_progress=on_progress)
    if as_json:
        print_json(manifest)
    else:
        print_row("Added", f"{manifest.name} · {len(manifest.files)} files, with their hashes")
        print_row("Next", f"appliance tune ./company_docs --base {manifest.name}")


@bases.command()
@click.argument("name")
@_json
def verify(name: str, as_json: bool) -> None:
    """Hold every file of the base NAME against the hash it had when it was imported."""
    from appliance.bases.catalogue import find_place
    from appliance.bases.manifest import verify_place
    from appliance.cli.output import print_json, print_row
    from appliance.units import format_bytes

    place = find_place(name)
    with _draw_progress("Checked") as on_progress:
        files = verify_place(place, on_progress)
    num_bytes = sum(file.num_bytes for file in files)
    if as_json:
        rows = [file.model_dump() for file in files]
        print_json({"name": place.name, "intact": True, "num_bytes": num_bytes, "files": rows})
    else:
        print_row("Intact", f"{place.name} · {len(files)} files · {format_bytes(num_bytes)}")


@bases.command()
@click.argument("name")
@_yes
def remove(name: str, yes: bool) -> None:
    """Remove the imported base NAME from its store."""
    from appliance.bases.catalogue import find_place
    from appliance.bases.store import remove_stored
    from appliance.cli.output import print_row
    from appliance.errors import BaseModelError, InterruptedRun

    place = find_place(name)
    if place.where not in ("store", "system"):
        raise BaseModelError(
            f"{name} is not in a store",
            why={
                "package": "it ships inside the program",
                "cache": "it lies in the cache of a hub client, which is only read",
                "folder": "it is a folder of yours",
            }[place.where],
            fix="remove it with the tool that brought it",
        )
    _require_answer(yes)
    if not yes and not _ask(f"Remove {name} from {place.folder.parent}?", default=False):
        raise InterruptedRun("nothing was removed", fix="run the same command again to remove it")
    remove_stored(place.folder.parent, name)
    print_row("Removed", name)


def _require_answer(yes: bool) -> None:
    """Refuse to wait for an answer that nobody can give."""
    if not yes and not sys.stdin.isatty():
        from appliance.errors import UsageError

        raise UsageError(
            "this needs a yes",
            why="nobody can be asked: the input is no terminal",
            fix="add --yes, after reading the licence of the model",
        )


def _ask(question: str, *, default: bool) -> bool:
    """Ask on the terminal; an empty line is the default, the end of the input a no."""
    click.echo(f"{question} {'[Y/n]' if default else '[y/N]'} ", err=True, nl=False)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        pass  # a signal that comes just before a read would wait for the answer as well
    answer = sys.stdin.readline()
    word = answer.strip().lower()
    return word in ("y", "yes") or (default and bool(answer) and not word)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Let a request to end undo what was begun, as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> Never:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _draw_progress(verb: str) -> Iterator[Callable[[int, int], None]]:
    """A line on the terminal that counts bytes; nothing where stderr is no terminal."""
    from appliance.units import format_bytes

    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    last = -1

    def draw(done: int, total: int) -> None:
        nonlocal last
        share = 100 * done // max(1, total)
        if share != last:
            last = share
            text = f"{verb} {format_bytes(done)} of {format_bytes(total)} · {share} %"
            click.echo(f"\r{text:<60}", err=True, nl=share == 100)

    try:
        yield draw
    finally:
        if 0 <= last < 100:
            click.echo(err=True)  # or the reason would stand in the middle of the line
