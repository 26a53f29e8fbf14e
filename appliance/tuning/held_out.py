"""Looking at a run on its way: is it the best so far, and was too much forgotten?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from appliance.dataset.pack import Pack
from appliance.events import HeldOut, Note, OnEvent
from appliance.tuning.checkpoint import Counters
from appliance.tuning.drift import GeneralText, answer_drift, describe_answer
from appliance.tuning.ranks import Ranks
from appliance.tuning.step import CausalModel, measure_loss


def hold_out(
    model: CausalModel,
    held_out: Sequence[Pack],
    general: GeneralText | None,
    counters: Counters,
    on_event: OnEvent,
    ranks: Ranks,
) -> Counters:
    """Measure the loss on held-out and on general text, and count what follows from it.

    Weights that keep general text within its limit are better than any that do not.
    """
    loss, rise, is_beyond = measure_loss(model, held_out, ranks), None, False
    if general:
        rise = measure_loss(model, general.held_out, ranks) / general.base_loss - 1
        is_beyond = rise > general.limit
    is_best = (is_beyond, loss) < (counters.best_is_beyond, counters.best_loss)
    on_event(HeldOut(step=counters.step, loss=loss, is_best=is_best, general_rise=rise))
    if is_best:
        counters = dataclasses.replace(
            counters,
            best_step=counters.step,
            best_loss=loss,
            best_is_beyond=is_beyond,
            best_rise=rise,
            num_worse=0,
        )
    else:
        counters = dataclasses.replace(counters, num_worse=counters.num_worse + 1)
    if not general or rise is None:
        return counters
    answered = answer_drift(counters, rise, general.limit)
    told = describe_answer(counters, answered, rise, general.limit)
    if told:
        on_event(Note(text=told))
    return answered
