"""Processes that train one model together, and the little that they tell each other.

What a step reads is computed from its number, so every process knows all packs of a step, takes
its share, and knows the labels of the whole step: nobody has to be asked. Gradients are summed
once a step; after that, all processes decide the same from the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """One of several processes that train one model; alone unless `torch.distributed` has begun.

    Attributes:
        rank: number of this one; the first saves, and speaks.
        size: of all.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process saves and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items that are this process's to do."""
        return items[self.rank :: self.size]

    def sum(self, *values: float) -> tuple[float, ...]:
        """Sums over all processes; all must call, and all get the same numbers."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return tuple(total.tolist())

    def agree(self, is_wanted: bool) -> bool:
        """Whether any process wants something; all must call."""
        return bool(self.sum(is_wanted)[0])

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.agree(is_wanted=False)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients over all processes; one that had no pack adds nought."""
        if self.size == 1:
            return
        ordered = sorted(parameters, key=lambda value: str(value.dtype))
        for _, group in groupby(ordered, key=lambda value: value.dtype):
            values = list(group)
            gradients = [torch.zeros_like(v) if v.grad is None else v.grad for v in values]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            parts = torch.split(flat, [value.numel() for value in values])
            for value, part in zip(values, parts, strict=True):
                value.grad = part.view_as(value)


ALONE = Ranks()
"""The usual case: one process."""


def find_ranks() -> Ranks:
    """Which of how many this process is."""
    if not dist.is_initialized():
        return ALONE
    return Ranks(rank=dist.get_rank(), size=dist.get_world_size())
