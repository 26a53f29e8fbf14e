"""The loss of packs and its gradients: what one optimizer step is made of.

Letters: T tokens of a pack, N labelled positions, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from appliance.dataset.pack import IGNORED, Pack
from appliance.tuning.loss import sum_cross_entropy
from appliance.tuning.ranks import ALONE, Ranks


class CausalModel(Protocol):
    """What the loop asks of a model: hidden states of a pack, and the weight of its head."""

    @property
    def module(self) -> nn.Module:
        """The module that owns the parameters."""

    def read_hidden(self, pack: Pack) -> Tensor:
        """Final hidden states of a pack, shape (T, D)."""

    def read_head(self) -> Tensor:
        """Weight of the language-model head, shape (V, D), with whatever is attached to it."""

    @property
    def logit_cap(self) -> float | None:
        """Bound of the scores that the head gives; None for none."""


class Batches(Protocol):
    """What the loop asks of its data: the packs of a step, by number."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that read everything once."""

    def read_step(self, step: int) -> list[Pack]:
        """Packs of one optimizer step, counted from 0 over all epochs."""


def add_gradients(
    model: CausalModel, packs: Sequence[Pack], replayed: Sequence[Pack], num_labels: int
) -> float:
    """Gradients of the mean loss over all labels of a step, as far as it goes over these packs.

    Args:
        model: its gradients are added to.
        packs: of the step, or a share of them.
        replayed: general text beside them, likewise.
        num_labels: of the whole step.

    Returns:
        What `packs` add to the mean, in nats.
    """
    loss = 0.0
    for pack in packs:
        part = sum_pack_loss(model, pack) / num_labels
        part.backward()  # type: ignore[no-untyped-call]
        loss += part.item()
    for pack in replayed:
        (sum_pack_loss(model, pack) / num_labels).backward()  # type: ignore[no-untyped-call]
    return loss


def sum_pack_loss(model: CausalModel, pack: Pack) -> Tensor:
    """Sum of the loss over the labels of a pack, in nats, with a graph if anything learns."""
    hidden_TD = model.read_hidden(pack)
    labels_T = torch.from_numpy(pack.labels_T).to(hidden_TD.device)
    labelled_T = labels_T != IGNORED
    return sum_cross_entropy(
        hidden_TD[labelled_T], model.read_head(), labels_T[labelled_T], model.logit_cap
    )


@torch.no_grad()
def measure_loss(model: CausalModel, packs: Sequence[Pack], ranks: Ranks = ALONE) -> float:
    """Mean loss over all labels of the packs, in nats per supervised token.

    Several processes score a share each, and all get the same number.
    """
    was_training = model.module.training
    model.module.eval()
    (total,) = ranks.sum(sum(sum_pack_loss(model, pack).item() for pack in ranks.share(packs)))
    model.module.train(was_training)
    return total / max(1, count_labels(packs))


def count_labels(packs: Sequence[Pack]) -> int:
    """Positions of all packs that count in the loss."""
    return sum(pack.num_labels for pack in packs)


def count_tokens(packs: Sequence[Pack]) -> int:
    """Tokens of all packs."""
    return sum(len(pack.token_ids_T) for pack in packs)
