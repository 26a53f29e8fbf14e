"""What a model makes of spans of text, token by token: its loss, and what it would say itself.

A greedy answer repeats a text for as long as each next token is the likeliest one after those
before it. So one reading of the text tells all that greedy answers would repeat of it, from any
place in it, without one of them being written.

Letters: T tokens of a pack, N labels, D model width, V vocabulary, E spans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from appliance.dataset.pack import IGNORED, build_pack, fill_packs
from appliance.dataset.tokens import TokenFile
from appliance.tuning.loss import cap_scores
from appliance.tuning.model import DecoderModel

PROMPT_TOKENS = 16
"""What must be known of a text, at least, before the rest of it counts as repeated."""

_ROWS = 256
"""Positions whose logits are held at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanReadings:
    """What one model made of E spans.

    Attributes:
        losses_E: nats per label.
        runs_E: longest run of labels of each span that a greedy answer repeats.
        documents_E: where each span is from.
    """

    losses_E: npt.NDArray[np.float64]
    runs_E: npt.NDArray[np.int64]
    documents_E: npt.NDArray[np.int64]


@torch.no_grad()
def read_spans(
    model: DecoderModel, split: TokenFile, rows: list[int], pack_tokens: int
) -> SpanReadings:
    """Read examples of a split.

    Args:
        model: any model of the loop.
        split: where the examples are.
        rows: which of them, each with labels.
        pack_tokens: tokens read at a time.
    """
    losses = np.zeros(len(rows))
    runs = np.zeros(len(rows), dtype=np.int64)
    lengths = [int(split.lengths_E[row]) for row in rows]
    for bin_ in fill_packs(lengths, max(pack_tokens, max(lengths))):
        pack = build_pack(split, [rows[item] for item in bin_])
        labels_T = torch.from_numpy(pack.labels_T)
        nats_T, hits_T = _read_labels(
            model.read_hidden(pack), model.read_head(), labels_T, model.logit_cap
        )
        for item, (start, end) in zip(bin_, pack.segments, strict=True):
            known = pack.labels_T[start:end] != IGNORED
            losses[item] = nats_T[start:end][known].mean()
            runs[item] = find_longest_run(hits_T[start + PROMPT_TOKENS - 1 : end])
    return SpanReadings(
        losses_E=losses, runs_E=runs, documents_E=np.array(split.examples_E5[rows, 2])
    )


def find_longest_run(hits_T: npt.NDArray[np.bool_]) -> int:
    """Length of the longest run of True."""
    misses = np.flatnonzero(np.concatenate([[True], ~hits_T, [True]]))
    return int(np.diff(misses).max()) - 1


def _read_labels(
    hidden_TD: Tensor, head_VD: Tensor, labels_T: Tensor, cap: float | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Loss of every label, and whether it is the likeliest token; nothing where there is none."""
    nats_T = np.zeros(len(labels_T))
    hits_T = np.zeros(len(labels_T), dtype=bool)
    known_N, device = torch.where(labels_T != IGNORED)[0], hidden_TD.device
    for start in range(0, len(known_N), _ROWS):
        places_N = known_N[start : start + _ROWS]
        logits_NV = cap_scores((hidden_TD[places_N.to(device)] @ head_VD.t()).float(), cap)
        labels_N = labels_T[places_N].to(device)
        each_N = torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="none")
        at_N = places_N.numpy()  # NumPy takes a tensor of one element for a number
        nats_T[at_N] = each_N.cpu().numpy()
        hits_T[at_N] = (logits_NV.argmax(dim=1) == labels_N).cpu().numpy()
    return nats_T, hits_T
