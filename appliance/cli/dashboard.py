"""`appliance dashboard`: jobs, machine and models in a browser, and the same as an API."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import click

from appliance.errors import UsageError

EXAMPLE = """
\b
Example:
  appliance dashboard --documents ~/documents
  appliance dashboard --host 0.0.0.0 --tls-cert box.pem --tls-key box.key --allow-host box.office
"""


@click.command(epilog=EXAMPLE)
@click.option(
    "--documents",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder whose folders may be tuned on from the browser; may be given several times.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8766,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option("--allow-host", "hosts", multiple=True, help="A name that browsers call it by.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate, in PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Key of the certificate, in PEM.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="Where tokens and audit log are kept."
)
@click.option(
    "--upload-gib",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    help="All files together that may be sent from browsers; 0 for none.",
)
@click.option("--json", "as_json", is_flag=True, help="Tell as JSON where it listens.")
def dashboard(
    roots: tuple[Path, ...],
    host: str,
    port: int,
    hosts: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    state: Path | None,
    upload_gib: float,
    as_json: bool,
) -> None:
    """Show jobs, machine and models in a browser; start and steer jobs there.

    It asks the service as the user who runs it, and sees what that user sees. The printed link
    logs one browser in, once; everybody else needs a token (appliance tokens create).
    """
    from appliance.cli.output import print_row
    from appliance.daemon.client import require_client
    from appliance.web.places import find_folder
    from appliance.web.server import (
        Certificate,
        Place,
        describe_address,
        make_desk,
        open_place,
        run_dashboard,
    )

    if (tls_cert is None) != (tls_key is None):
        raise UsageError(
            "a certificate and its key belong together",
            why="only one of --tls-cert and --tls-key was given",
            fix="give both, or neither on loopback",
        )
    certificate = Certificate(certificate=tls_cert, key=tls_key) if tls_cert and tls_key else None
    names = frozenset({socket.gethostname(), *hosts})
    place = Place(host=host, port=port, hosts=names, certificate=certificate)
    desk = make_desk(find_folder(state), require_client(), roots, int(upload_gib * 2**30))
    listening = open_place(place)
    address = describe_address(listening, place)

    is_managed = "NOTIFY_SOCKET" in os.environ

    def tell() -> None:
        link = f"{address}/login?link={desk.sessions.make_link(time.time())}"
        if as_json:
            click.echo(json.dumps({"address": address, "link": link, "pid": os.getpid()}))
            return
        if is_managed:  # its words are kept in a journal: no place for a link that lets in
            print_row("Dashboard", address, to_stderr=True)
        else:
            note = "logs one browser in, once, within 15 minutes"
            print_row("Dashboard", link, note, to_stderr=True)
        print_row("Others", "appliance tokens create --name WHO --scope read", to_stderr=True)
        print_row("Stop", "Ctrl-C; jobs go on", to_stderr=True)

    desk.audit.note("terminal", "open the dashboard")
    try:
        run_dashboard(listening, place, desk, tell)
    finally:
        listening.close()
        desk.audit.note("terminal", "close the dashboard")
