"""What this machine can do, asked once and kept: a look takes seconds of a core."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import ValidationError

from appliance.errors import ApplianceError
from appliance.web.children import ask_verb
from appliance.web.machine_shapes import MachineReport
from appliance.web.shapes import Fault

LOOK_SECONDS = 300.0
"""For `appliance report`, on a machine that trains."""


class MachineLook:
    """The last report of the machine."""

    def __init__(self, folder: Path) -> None:
        """Nothing is known yet.

        Args:
            folder: whose disk the report measures.
        """
        self.report: MachineReport | None = None
        self.fault: Fault | None = None
        self._folder = folder
        self._task: asyncio.Task[None] | None = None

    @property
    def is_looking(self) -> bool:
        """Whether a report will come."""
        return self._task is not None and not self._task.done()

    def look(self, *, again: bool = False) -> None:
        """Begin to look, unless something is known already."""
        if not self.is_looking and (again or not (self.report or self.fault)):
            self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            answer = await ask_verb("report", "--runs", str(self._folder), seconds=LOOK_SECONDS)
            self.report, self.fault = MachineReport.model_validate(answer), None
        except ApplianceError as exc:
            self.fault = Fault(what=exc.what, why=exc.why, fix=exc.fix)
        except ValidationError:
            self.fault = Fault(
                what="the report of the machine is not understood",
                why="another version of this program made it",
                fix="start the dashboard anew",
            )

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
