"""`appliance tune`: order the job of a service, or do it here; draw it, print the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.options import job_arguments
from appliance.errors import UsageError

if TYPE_CHECKING:
    from appliance.daemon.client import Client

EXAMPLE = """
\b
Example:
  appliance tune ./company_docs
  appliance tune ./company_docs --base ./models/Qwen3-0.6B --set tune.epochs=1
  appliance tune ./company_docs --json > result.json
"""


@click.command(epilog=EXAMPLE)
@job_arguments
@click.option("--fresh", is_flag=True, help="Forget what an earlier attempt did.")
@click.option("--detach", is_flag=True, help="Leave the job to the service and return at once.")
@click.option("--here", is_flag=True, help="Do it in this process, though a service runs.")
@click.option("--priority", default=0, show_default=True, help="In the service's queue.")
@click.pass_obj
def tune(
    debug: bool | None,
    documents: Path,
    base: str | None,
    recipe: Path | None,
    settings: tuple[str, ...],
    runs: Path | None,
    fresh: bool,
    detach: bool,
    here: bool,
    priority: int,
    as_json: bool,
) -> None:
    """Fine-tune a base model on DOCUMENTS, prove it, export it, pack it.

    Killed or stopped, the same command goes on where it was. Where a service runs (`appliance
    daemon`), the job is done there, in its state folder; Ctrl-C leaves it running.
    """
    from appliance.bases.catalogue import find_bases
    from appliance.cli.follow import follow_worker
    from appliance.cli.output import print_json
    from appliance.documents.walk import scan_folder
    from appliance.jobs import TuneRequest, name_run
    from appliance.recipe import list_keys, load_recipe

    chosen = load_recipe(recipe, settings)
    _require_text(documents)
    scan_folder(documents)
    base_path = str(Path(base).absolute()) if base and Path(base).exists() else base
    client = _choose_client(here=here, runs=runs, detach=detach)
    if client is not None:
        order = {
            "documents": str(documents.absolute()),
            "base": base_path,
            "recipe": chosen.model_dump(mode="json"),
            "priority": priority,
            "fresh": fresh,
        }
        _order(client, order, detach=detach, as_json=as_json)
        return
    find_bases(base)
    path = (runs or Path("runs")).absolute() / name_run(documents, base, chosen)
    request = TuneRequest(
        documents=str(documents.absolute()),
        base=base_path,
        recipe=chosen,
        run=str(path),
        fresh=fresh,
        debug=bool(debug),
        by_person=list_keys(settings, base),
    )
    result = follow_worker(request, as_json=as_json)
    if as_json:
        print_json(result)


def _require_text(documents: Path) -> None:
    """Names of files may be any bytes; the folder's own goes into JSON."""
    try:
        str(documents.absolute()).encode()
    except UnicodeEncodeError as exc:
        raise UsageError(
            "the path of the folder is not text",
            why="it holds bytes that are not valid UTF-8",
            fix="rename the folder",
        ) from exc


def _choose_client(*, here: bool, runs: Path | None, detach: bool) -> Client | None:
    """The service that does the job; None to do it in this process."""
    from appliance.daemon.client import find_client, require_client

    if detach and (here or runs is not None):
        raise UsageError(
            "--detach leaves the job to the service",
            why="--here and --runs keep it in this process",
            fix="leave one of them out",
        )
    if here or runs is not None:
        return None
    return require_client() if detach else find_client()


def _order(client: Client, order: dict[str, Any], *, detach: bool, as_json: bool) -> None:
    """Submit to the service, and follow unless told otherwise."""
    import uuid

    from appliance.cli.follow import follow_job, submit
    from appliance.cli.output import print_json, print_row

    job = submit(client, order | {"key": uuid.uuid4().hex}, as_json=as_json)
    if detach:
        print_row("Next", f"appliance jobs watch {job['id']}", to_stderr=as_json)
    else:
        job = follow_job(client, job["id"], as_json=as_json)
        print_row("Next", f"appliance jobs fetch {job['id']} ./bundle", to_stderr=as_json)
    if as_json:
        print_json(job if detach else job["result"])
