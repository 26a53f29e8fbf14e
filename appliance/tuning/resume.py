"""Where an interrupted training goes on: the latest checkpoint that is whole.

Two lie side by side: the latest, and the one of the lowest held-out loss, which is the older one.
A damaged one is never read. What the older one leads to is what the younger one would have: every
step from there on is computed again, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from appliance.events import Note, OnEvent
from appliance.files import remove_foreign_left, remove_left, sync
from appliance.tuning.checkpoint import Counters, find_damage, restore_checkpoint
from appliance.tuning.ranks import ALONE, Ranks


def resume(
    latest: Path,
    best: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    on_event: OnEvent,
    ranks: Ranks = ALONE,
) -> Counters:
    """Restore the last whole checkpoint, if there is one.

    Args:
        latest: the last checkpoint; removed if it is damaged.
        best: that of the lowest held-out loss, whose weights are the result in the end: without it
            training begins anew, for nothing else holds them.
        parameters: trainable tensors by name.
        optimizer: an AdamW over them.
        on_event: gets a Note for each that is damaged.
        ranks: the first looks for damage, the others wait for it.

    Returns:
        Where the run goes on.

    Raises:
        ValueError: the checkpoint belongs to other weights.
    """
    if ranks.is_first:
        _remove_left(latest, best)
        _drop_damaged(latest, "the latest checkpoint", "goes on from the best one", on_event)
        if _drop_damaged(best, "the best checkpoint", "begins anew", on_event):
            latest.unlink(missing_ok=True)
    ranks.wait()
    source = latest if latest.exists() else best
    return restore_checkpoint(source, parameters, optimizer) if source.exists() else Counters()


def _drop_damaged(path: Path, what: str, follows: str, on_event: OnEvent) -> bool:
    """Remove a checkpoint that is damaged and say so; whether it was."""
    damage = find_damage(path) if path.exists() else ""
    if damage:
        path.unlink()
        sync(path.parent)
        on_event(Note(text=f"{what} is damaged ({damage}); training {follows}"))
    return bool(damage)


def _remove_left(*paths: Path) -> None:
    """Remove what killed writers of checkpoints left: after the last one, no other would do so."""
    for path in paths:
        remove_foreign_left(path.parent)
        remove_left(path)
