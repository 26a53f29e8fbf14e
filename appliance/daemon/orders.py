"""An order becomes a job: where its run lies, under which key, for whom."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ServiceError
from appliance.jobs import JobKind, JobRequest, name_run
from appliance.queue.states import Job
from appliance.queue.store import Store
from appliance.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What somebody wants done.

    Attributes:
        key: the same key is the same order: a client whose connection died asks again.
        documents: folder that the service can read.
        base: name or folder of a base; None: the planner chooses.
        recipe: decisions.
        owner: user id of the person.
        priority: the highest starts first.
        fresh: forget what an earlier attempt at the same run did.
        force: pack the model even if the verdict is against it.
        kind: which line of the pipeline.
        by_person: keys of the recipe that came from the command line, and "base".
    """

    key: str
    documents: Path
    base: str | None
    recipe: Recipe
    owner: int
    priority: int = 0
    fresh: bool = False
    force: bool = False
    kind: JobKind = "tune"
    by_person: tuple[str, ...] = ()


def locate_run(order: Order, runs: Path) -> Path:
    """The folder of its run: the same for the same order of the same person."""
    name = name_run(order.documents, order.base, order.recipe, order.kind)
    return runs / (name if order.owner == os.geteuid() else f"{name}-u{order.owner}")


def require_own_text(recipe: Recipe) -> None:
    """Refuse a recipe that names a folder: the service may read more than whoever wrote it.

    Raises:
        ServiceError: it does.
    """
    if recipe.pretrain.replay:
        raise ServiceError(
            "the service reads no folder of general text",
            why="pretrain.replay names one, which the service may be able to read and you not",
            fix="leave it out (a sample ships), or do the job in your own process: --here",
        )


def submit_order(order: Order, runs: Path, store: Store) -> tuple[Job, bool]:
    """Queue an order, once.

    Returns:
        The job, and whether it was made now: the same key, or a live job with the same run, is
        that job.
    """
    run = locate_run(order, runs)
    request = JobRequest(
        kind=order.kind,
        documents=str(order.documents),
        base=order.base,
        recipe=order.recipe,
        run=str(run),
        fresh=order.fresh,
        force=order.force,
        by_person=order.by_person,
    )
    return store.submit(
        key=f"{order.owner}:{order.key}",
        kind=order.kind,
        request=request.model_dump_json(),
        run=str(run),
        owner=order.owner,
        label=run.name,
        priority=order.priority,
    )
