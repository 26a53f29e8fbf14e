"""What bounds a plan: the budget of a recipe, in bytes and seconds."""

from __future__ import annotations

from appliance.recipe import BudgetRecipe
from appliance.units import GIB
from appliance.values import MeasuredRates, PlanTerms, RunNotes


def read_terms(
    budget: BudgetRecipe,
    rates: MeasuredRates | None = None,
    notes: RunNotes | None = None,
    by_person: tuple[str, ...] = (),
) -> PlanTerms:
    """What bounds a plan: the budget of a recipe, with what is known about the machine."""

    def count_bytes(gibibytes: float | str) -> int | None:
        return None if isinstance(gibibytes, str) else int(gibibytes * GIB)

    return PlanTerms(
        memory_bytes=count_bytes(budget.memory_gibibytes),
        disk_bytes=count_bytes(budget.disk_gibibytes),
        seconds=None if isinstance(budget.hours, str) else 3600 * budget.hours,
        by_person=by_person,
        rates=rates,
        notes=notes,
    )
