"""Plans that somebody asked for before starting a job: made one at a time, kept for a while."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.errors import ApplianceError, ServiceError
from appliance.values import TrainPlan
from appliance.web.children import ask_verb
from appliance.web.shapes import Fault
from appliance.web.start_shapes import Planned, PlanPage

PLAN_SECONDS = 1800.0
"""To read a folder and plan."""

MAX_PLANS = 32
"""That are kept."""

MAX_WAITING = 4
"""That may be under way or wait at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What somebody wants planned.

    Attributes:
        base: "" leaves the choice to the planner.
        upload: id of the upload that the documents are; "" for a folder.
    """

    documents: Path
    base: str
    upload: str = ""


class Plans:
    """All plans of one dashboard; lives on its event loop."""

    def __init__(self) -> None:
        """There are none."""
        self._pages: OrderedDict[str, PlanPage] = OrderedDict()
        self._wishes: dict[str, Wish] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()

    def begin(self, wish: Wish) -> PlanPage:
        """Ask for a plan.

        Raises:
            ServiceError: too many are under way.
        """
        if len(self._tasks) >= MAX_WAITING:
            raise ServiceError(
                "too many plans are under way",
                why=f"{MAX_WAITING} wait already; each reads a whole folder",
                fix="wait for them",
            )
        page = PlanPage(
            id=secrets.token_hex(16),
            folder=wish.documents.name,
            base=wish.base,
            began_at=time.time(),
        )
        self._pages[page.id], self._wishes[page.id] = page, wish
        while len(self._pages) > MAX_PLANS:
            old, _ = self._pages.popitem(last=False)
            self._wishes.pop(old, None)
        self._tasks[page.id] = asyncio.create_task(self._make(page, wish))
        return page

    def find(self, plan_id: str) -> tuple[PlanPage, Wish]:
        """A plan, and what it was asked for.

        Raises:
            UnknownPlanError: there is none of this id, or no longer.
        """
        if plan_id not in self._pages:
            raise UnknownPlanError(
                "there is no such plan",
                why="plans are kept until the dashboard ends, the last few of them",
                fix="ask for it again",
            )
        return self._pages[plan_id], self._wishes[plan_id]

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _make(self, page: PlanPage, wish: Wish) -> None:
        arguments = ["plan", str(wish.documents), *(("--base", wish.base) if wish.base else ())]
        try:
            async with self._one_at_a_time:
                planned = parse_plan(await ask_verb(*arguments, seconds=PLAN_SECONDS))
            done = page.model_copy(update={"planned": planned})
        except ApplianceError as exc:
            fault = Fault(what=exc.what, why=exc.why, fix=exc.fix)
            done = page.model_copy(update={"fault": fault})
        finally:
            self._tasks.pop(page.id, None)
        if page.id in self._pages:
            self._pages[page.id] = done


class UnknownPlanError(ServiceError):
    """No plan has this id."""


def parse_plan(answer: dict[str, Any]) -> Planned:
    """What `appliance plan --json` printed: a plan with sums, and what it was made from.

    Raises:
        ServiceError: it is not that.
    """
    plan = {name: value for name, value in answer.items() if name in TrainPlan.model_fields}
    try:
        sums = ("total_bytes", "total")
        for part in ("memory", "seconds"):
            plan[part] = {name: size for name, size in plan[part].items() if name not in sums}
        return Planned.model_validate(answer | {"plan": plan})
    except (ValidationError, KeyError, AttributeError) as exc:
        raise ServiceError(
            "the plan is not understood",
            why="another version of this program made it",
            fix="start the dashboard anew",
        ) from exc
