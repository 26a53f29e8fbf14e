"""Jobs: what a person asked for, and the name under which its run is found again."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from appliance.recipe import Recipe, TuneRecipe

REQUEST = "request.json"
"""What a run was asked to do, in its folder."""

STOP = "stop"
"""The line that asks a worker to leave at the next safe point."""


JobKind = Literal["tune", "pretrain", "assess"]
"""Which line of the pipeline a job goes along."""


class JobRequest(BaseModel):
    """What a person asked for; paths are absolute.

    Attributes:
        by_person: keys that came from the command line, such as "tune.rank" or "base".
        force: pack the model even if the verdict is not to deploy it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: JobKind = "tune"
    documents: str
    base: str | None
    recipe: Recipe
    run: str
    fresh: bool = False
    debug: bool = False
    by_person: tuple[str, ...] = ()
    force: bool = False


class WorkOrder(BaseModel):
    """What a worker is told, as the first line of its input.

    Attributes:
        request: what the person asked for.
        cores: processor cores that the job may use; empty for all of them.
        gpu: number of the GPU that the job may use; None for all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: JobRequest
    cores: tuple[int, ...] = ()
    gpu: int | None = None


DIGITS = 10
"""Of the name of a run. With 6 of them, two of 10,750 different orders of a campaign had the name
of another one and were given its job; with 10, a million runs have half a pair among them."""


def name_run(documents: Path, base: str | None, recipe: Recipe, kind: JobKind = "tune") -> str:
    """The same request always has the same name: that is how a killed job is found again.

    What a bundle carries beside the model is not part of it: another wish there only packs again.
    Nor is how many processes train: a run goes on with another number of them.
    """
    folder = documents.absolute().resolve()
    many = set(TuneRecipe.VOLATILE)
    decisions = recipe.model_dump_json(exclude={"bundle": True, "tune": many, "pretrain": many})
    body = f"{folder}\n{base}\n{decisions}"
    if kind != "tune":
        body = f"{kind}\n{body}"
    digest = hashlib.sha256(body.encode()).hexdigest()
    label = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-")[:32] or "documents"
    return f"{label}-{digest[:DIGITS]}"


def choose_kind(recipe: Recipe) -> JobKind:
    """The line of the pipeline that a recipe alone asks for.

    One that pretrains and goes on to tune is whole, and a base from nothing has to be pretrained.
    """
    begins = recipe.pretrain.then == "tune" or recipe.pretrain.start == "nothing"
    return "pretrain" if begins else "tune"
