"""Held-out losses example by example, and how sure a difference between two models is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from appliance.dataset.pack import IGNORED, build_pack, fill_packs
from appliance.dataset.tokens import TokenFile
from appliance.tuning.loss import measure_each
from appliance.tuning.model import DecoderModel

RESAMPLES = 2_000
"""Resamples of a bootstrap: bounds of a 95 % interval are then good to a tenth of its width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleScores:
    """What one model made of some examples of a split; E examples.

    Attributes:
        nats_E: negative log-likelihood of each example's labels, summed.
        labels_E: labels of each example.
        bytes_E: UTF-8 bytes of each example's supervised text.
        documents_E: the document of each example.
        kinds_E: PASSAGE or ANSWER.
    """

    nats_E: npt.NDArray[np.float64]
    labels_E: npt.NDArray[np.int64]
    bytes_E: npt.NDArray[np.int64]
    documents_E: npt.NDArray[np.int64]
    kinds_E: npt.NDArray[np.int64]

    def mean_loss(self, kind: int | None = None) -> float | None:
        """Nats per label over the examples of a kind (all when None); None without labels."""
        chosen = np.ones_like(self.kinds_E, bool) if kind is None else self.kinds_E == kind
        labels = int(self.labels_E[chosen].sum())
        return float(self.nats_E[chosen].sum() / labels) if labels else None

    def bits_per_byte(self) -> float:
        """Bits the model needs for a byte of supervised text."""
        return float(self.nats_E.sum() / math.log(2) / max(1, int(self.bytes_E.sum())))


@torch.no_grad()
def score_examples(
    model: DecoderModel, split: TokenFile, rows: list[int], pack_tokens: int
) -> ExampleScores:
    """Score examples of a split.

    Args:
        model: any model of the loop.
        split: where the examples are.
        rows: which of them.
        pack_tokens: tokens read at a time.
    """
    nats = np.zeros(len(rows))
    lengths = [int(split.lengths_E[row]) for row in rows]
    for bin_ in fill_packs(lengths, max(pack_tokens, max(lengths))):
        pack = build_pack(split, [rows[item] for item in bin_])
        hidden_TD = model.read_hidden(pack)
        labels_T = torch.from_numpy(pack.labels_T).to(hidden_TD.device)
        each_T = torch.zeros(len(labels_T), dtype=torch.float64, device=hidden_TD.device)
        known_T = labels_T != IGNORED
        losses_N = measure_each(
            hidden_TD[known_T], model.read_head(), labels_T[known_T], model.logit_cap
        )
        each_T[known_T] = losses_N.double()
        for item, (start, end) in zip(bin_, pack.segments, strict=True):
            nats[item] = each_T[start:end].sum().item()
    table = split.examples_E5[rows]
    return ExampleScores(
        nats_E=nats,
        labels_E=split.count_labels()[rows],
        bytes_E=table[:, 4],
        documents_E=table[:, 2],
        kinds_E=table[:, 3],
    )


def bootstrap_improvement(
    base: ExampleScores, tuned: ExampleScores, kind: int | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """Relative fall of the loss, with a 95 % interval over documents.

    Args:
        base: scores of the untouched model.
        tuned: scores of the tuned model on the same examples.
        kind: PASSAGE or ANSWER alone; all when None.
        seed: of the resamples.

    Returns:
        (base - tuned) / base, its lower and its upper bound.

    Source: paired bootstrap with documents as the unit, Koehn 2004, "Statistical Significance
    Tests for Machine Translation Evaluation".
    """
    chosen = np.ones_like(base.kinds_E, bool) if kind is None else base.kinds_E == kind
    documents, index = np.unique(base.documents_E[chosen], return_inverse=True)
    before = np.bincount(index, weights=base.nats_E[chosen], minlength=len(documents))
    after = np.bincount(index, weights=tuned.nats_E[chosen], minlength=len(documents))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(documents), size=(RESAMPLES, len(documents)))
    improvements = 1 - after[drawn].sum(axis=1) / before[drawn].sum(axis=1)
    low, high = np.quantile(improvements, [0.025, 0.975])
    return float(1 - after.sum() / before.sum()), float(low), float(high)
