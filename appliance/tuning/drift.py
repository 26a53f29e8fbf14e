"""What training makes the model forget, watched on the way, and what is done about it.

With every held-out loss, the loss on a little general text that nobody trains on is measured too.
Where it rises, general text is read again beside the documents; where it rises beyond the limit,
the learning rate is halved as well; and where that does not help, the run ends. What decides is
part of every checkpoint and falls at steps that the schedule fixes, so a killed run decides the
same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.dataset.pack import Pack
from appliance.dataset.windows import ReplayWindows
from appliance.tuning.checkpoint import Counters

CHECK_TOKENS = 2_048
"""General text that is scored with every held-out loss.

Source: `dataset/build.py`, GENERAL_TOKENS.
"""

DRIFT_SHARE = 0.4
"""Part of the limit above which general text is read again, and more of it while it gets worse."""

REPLAY_STEP, REPLAY_MOST = 0.1, 0.3
"""By how much its share is raised each time, and up to where, as a part of the documents' packs."""

TIMES_LOWERED = 3
"""Times in a row that the rate is halved for a rise beyond the limit; the next time, the run ends.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralText:
    """General text of a training run.

    Attributes:
        held_out: packs that are never trained on.
        replay: what is read again.
        base_loss: of the base on the held-out packs, nats per token.
        limit: rise of that loss, as a part of it, which is too much.
    """

    held_out: Sequence[Pack]
    replay: ReplayWindows
    base_loss: float
    limit: float


def answer_drift(counters: Counters, rise: float, limit: float) -> Counters:
    """What is done after a check: the share of general text, the rate, or nothing.

    Args:
        counters: where the run stands.
        rise: of the loss on general text, as a part of the base's.
        limit: above which it is too much.
    """
    is_beyond = rise > limit
    is_worse = rise > DRIFT_SHARE * limit and rise >= counters.last_rise
    share = counters.replay_share
    if is_worse or is_beyond:
        share = min(REPLAY_MOST, round(share + REPLAY_STEP, 6))
    num_over = counters.num_over + 1 if is_beyond else 0
    return dataclasses.replace(
        counters,
        last_rise=rise,
        replay_share=share,
        num_over=num_over,
        num_lowered=counters.num_lowered + (is_beyond and num_over <= TIMES_LOWERED),
    )


def has_ended(counters: Counters) -> bool:
    """Whether general text stayed beyond the limit although the rate was lowered."""
    return counters.num_over > TIMES_LOWERED


def describe_answer(before: Counters, after: Counters, rise: float, limit: float) -> str:
    """The same for people; "" where nothing was done."""
    told = f"general text became {rise:.1%} worse (limit {limit:.0%})"
    if has_ended(after):
        return f"{told} and stayed there at lower rates: training ends here"
    done = []
    if after.replay_share != before.replay_share:
        done.append(f"general text is read again, {after.replay_share:.0%} beside the documents")
    if after.num_lowered != before.num_lowered:
        done.append("the learning rate is halved")
    return f"{told}: {' and '.join(done)}" if done else ""
