"""`appliance serve`: bundles behind an OpenAI-compatible API."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.errors import UsageError

if TYPE_CHECKING:
    from appliance.serving.api.service import ServedModel
    from appliance.serving.server import ModelFolder

EXAMPLE = """
\b
Example:
  appliance serve runs/company_docs-c8a31b
  curl localhost:8765/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{"model": "company_docs-c8a31b", "messages": [{"role": "user", "content": "Hello"}]}'
"""


@click.command(epilog=EXAMPLE)
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option(
    "--socket", "socket_file", type=click.Path(path_type=Path), help="Listen on this file instead."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Tokens that clients have to bring, one a line.",
)
@click.option("--allow-host", "hosts", multiple=True, help="Another name that clients call us by.")
@click.option(
    "--max-tokens-per-request",
    type=click.IntRange(min=1),
    help="Tokens of an answer at most. Default: what the context leaves.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Answers at once, for each model.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Processor cores to use. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Tell as JSON where the server listens.")
def serve(
    bundles: tuple[Path, ...],
    host: str,
    port: int,
    socket_file: Path | None,
    token_file: Path | None,
    hosts: tuple[str, ...],
    max_tokens_per_request: int | None,
    parallel: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Serve BUNDLES, folders of bundles or of the runs that made them.

    A model is called by the name of its run. Every bundle is verified first. SIGTERM and Ctrl-C
    let the answers under way come to their end.
    """
    from appliance.offline import go_offline

    go_offline()
    from appliance.serving.api.guard import Access
    from appliance.serving.api.tasks import Limits
    from appliance.serving.server import ServerSettings
    from appliance.serving.server import serve as serve_models
    from appliance.serving.sockets import open_tcp_socket, open_unix_socket, read_tokens

    digests = read_tokens(token_file) if token_file else ()
    if socket_file:
        listening = open_unix_socket(socket_file)
    else:
        listening = open_tcp_socket(host, port, has_token=bool(digests))
    try:
        folders = list_models(bundles)
        settings = ServerSettings(
            access=Access(
                hosts=frozenset(name.lower() for name in {host, socket.gethostname(), *hosts}),
                digests=digests,
                is_local=socket_file is not None,
            ),
            limits=Limits(max_tokens=max_tokens_per_request),
            num_rows=parallel,
            threads=threads,
        )
        place = str(socket_file) if socket_file else describe_address(listening)
        serve_models(
            folders, listening, settings, lambda models: tell(place, models, as_json=as_json)
        )
    finally:
        listening.close()
        if socket_file:
            socket_file.unlink(missing_ok=True)


def list_models(bundles: Sequence[Path]) -> list[ModelFolder]:
    """Verify bundles and name each after its run.

    Raises:
        BundleError: one is missing or damaged.
        UsageError: two have the same name.
    """
    from appliance.bundle.manifest import MANIFEST
    from appliance.bundle.verify import find_bundle, verify_bundle
    from appliance.files import hash_file
    from appliance.serving.server import ModelFolder

    models: list[ModelFolder] = []
    for path in bundles:
        folder = find_bundle(path).resolve()
        manifest = verify_bundle(folder)
        name = folder.parent.name if folder.name == "bundle" else folder.name
        if name in [model.name for model in models]:
            raise UsageError(
                f"two bundles are called {name}",
                why="clients choose a model by the name of its run",
                fix="rename the folder of one of them",
            )
        created = datetime.datetime.fromisoformat(manifest.created)
        models.append(
            ModelFolder(
                name=name,
                folder=folder,
                created=int(created.timestamp()),
                fingerprint=f"fp_{hash_file(folder / MANIFEST)[:12]}",
            )
        )
    return models


def describe_address(listening: socket.socket) -> str:
    """The address to call."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def tell(place: str, models: Sequence[ServedModel], *, as_json: bool) -> None:
    """Say where the server listens, and what it serves."""
    import json
    import os

    from appliance.cli.output import print_row

    if as_json:
        names = [model.name for model in models]
        click.echo(json.dumps({"address": place, "models": names, "pid": os.getpid()}))
        return
    lines = [
        f"{model.name} · {model.engine.num_rows} answers at once · "
        f"{model.engine.context:,} tokens each"
        for model in models
    ]
    print_row("Serving", place, to_stderr=True)
    print_row("Models", *lines, to_stderr=True)
    print_row("Stop", "Ctrl-C; answers under way come to their end", to_stderr=True)
