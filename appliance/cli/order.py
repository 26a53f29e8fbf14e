"""A job of any kind: ordered of a service, or done here; drawn, and its result told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import UsageError

if TYPE_CHECKING:
    from appliance.daemon.client import Client
    from appliance.jobs import JobKind
    from appliance.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOptions:
    """What was typed, as the options of `cli/options.py` name it."""

    documents: Path
    base: str | None
    recipe: Path | None
    settings: tuple[str, ...]
    runs: Path | None
    as_json: bool
    without: tuple[str, ...]
    fresh: bool
    force: bool
    detach: bool
    here: bool
    priority: int


def do_job(
    kind: JobKind,
    recipe: Recipe,
    options: JobOptions,
    *,
    debug: bool,
    show: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Do a job where it belongs, and show how it goes.

    Args:
        kind: which line of the pipeline.
        recipe: read and checked.
        options: what was typed.
        debug: let the worker show tracebacks.
        show: tells the result to people, where the job makes no bundle.

    Raises:
        ApplianceError: what the job failed with.
    """
    from appliance.bases.catalogue import find_bases
    from appliance.cli.follow import follow_worker
    from appliance.cli.output import print_json
    from appliance.documents.leave_out import leave_out
    from appliance.documents.walk import scan_folder
    from appliance.jobs import JobRequest, name_run
    from appliance.recipe import list_keys

    documents, base = options.documents, options.base
    recipe = leave_out(recipe, options.without)
    _require_text(documents)
    scan_folder(documents)
    base_path = str(Path(base).absolute()) if base and Path(base).exists() else base
    client = _choose_client(options)
    if client is not None:
        order = {
            "documents": str(documents.absolute()),
            "base": base_path,
            "recipe": recipe.model_dump(mode="json"),
            "kind": kind,
            "priority": options.priority,
            "fresh": options.fresh,
            "force": options.force,
            "by_person": list_keys(options.settings, base),
        }
        _order(client, order, options, show)
        return
    find_bases(base)
    path = (options.runs or Path("runs")).absolute() / name_run(documents, base, recipe, kind)
    request = JobRequest(
        kind=kind,
        documents=str(documents.absolute()),
        base=base_path,
        recipe=recipe,
        run=str(path),
        fresh=options.fresh,
        force=options.force,
        debug=debug,
        by_person=list_keys(options.settings, base),
    )
    result = follow_worker(request, as_json=options.as_json)
    if options.as_json:
        print_json(result)
    elif show is not None:
        show(result)


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


def _choose_client(options: JobOptions) -> Client | None:
    """The service that does the job; None to do it in this process."""
    from appliance.daemon.client import find_client, require_client

    is_own = options.here or options.runs is not None
    if options.detach and is_own:
        raise UsageError(
            "--detach leaves the job to the service",
            why="--here and --runs keep it in this process",
            fix="leave one of them out",
        )
    if is_own:
        return None
    return require_client() if options.detach else find_client()


def _order(
    client: Client,
    order: dict[str, Any],
    options: JobOptions,
    show: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Submit to the service, and follow unless told otherwise."""
    import uuid

    from appliance.cli.follow import follow_job, submit
    from appliance.cli.output import print_json, print_row

    job = submit(client, order | {"key": uuid.uuid4().hex}, as_json=options.as_json)
    if options.detach:
        print_row("Next", f"appliance jobs watch {job['id']}", to_stderr=options.as_json)
    else:
        job = follow_job(client, job["id"], as_json=options.as_json)
        if show is None:
            following = f"appliance jobs fetch {job['id']} ./bundle"
            print_row("Next", following, to_stderr=options.as_json)
        elif not options.as_json:
            show(job["result"])
    if options.as_json:
        print_json(job if options.detach else job["result"])
