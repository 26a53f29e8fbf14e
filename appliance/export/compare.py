"""How far apart two models are, measured on the labels of held-out examples.

All models of a chain read an example side by side, block by block: nothing but one block of logits
of each is ever in memory, and every model computes every position once.

Letters: T tokens of an example, N positions of a block that have a label, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from appliance.dataset.pack import IGNORED, Pack
from appliance.export.scorers import Ids, Logits, Scorer

BLOCK_BYTES = 192 * 2**20
"""Memory for one block of logits of all models of a chain."""

CHUNK_BYTES = 4 * 2**20
"""Memory for one array of log-probabilities: rows are compared while they stay in cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RungComparison:
    """Two models on the same positions.

    Attributes:
        loss_upper: nats per label, of the model to compare with.
        loss_lower: nats per label, of the model that is compared.
        kl: mean Kullback-Leibler divergence of the lower from the upper, nats per label.
        top1: share of labels where both find the same token most likely.
        num_positions: labels.
        max_abs_difference: largest difference of a log-probability, nats.
    """

    loss_upper: float
    loss_lower: float
    kl: float
    top1: float
    num_positions: int
    max_abs_difference: float


def compare(upper: Scorer, lower: Scorer, sample: Sequence[Pack]) -> RungComparison:
    """Compare a model with the one above it.

    Raises:
        ValueError: the models have different vocabularies, or the sample has no label.
    """
    return compare_chain([upper, lower], sample)[0]


def compare_chain(
    scorers: Sequence[Scorer], sample: Sequence[Pack], *, block_bytes: int = BLOCK_BYTES
) -> list[RungComparison]:
    """Compare every model of a chain with the one before it, in one pass over the sample.

    Args:
        scorers: from the top of the ladder downwards, two at least.
        sample: examples; a pack of several is read segment by segment.
        block_bytes: memory for logits.

    Returns:
        One comparison for every model but the first.

    Raises:
        ValueError: the models have different vocabularies, or the sample has no label.
    """
    sizes = {scorer.vocab_size for scorer in scorers}
    if len(sizes) != 1:
        raise ValueError(f"vocabularies differ: {sorted(sizes)}")
    row_bytes = 4 * sizes.pop()
    block = max(1, block_bytes // (row_bytes * len(scorers)))
    chunk = max(1, CHUNK_BYTES // row_bytes)
    totals = [_Totals() for _ in scorers]
    for token_ids_T, labels_T in _read_segments(sample):
        streams = [scorer.score(token_ids_T, block) for scorer in scorers]
        for number, blocks in enumerate(zip(*streams, strict=True)):
            labels_N = labels_T[number * block : (number + 1) * block]
            (labelled,) = np.nonzero(labels_N != IGNORED)
            for first in range(0, len(labelled), chunk):
                picked = labelled[first : first + chunk]
                _add_rows(totals, [logits_NV[picked] for logits_NV in blocks], labels_N[picked])
    if not totals[0].num_positions:
        raise ValueError("the sample has no label")
    return [above.compare_with(below) for above, below in itertools.pairwise(totals)]


@dataclass(slots=True)
class _Totals:
    """Sums over the labels read so far; kl, same and largest are against the model above."""

    num_positions: int = 0
    loss: float = 0.0
    kl: float = 0.0
    num_same: int = 0
    largest: float = 0.0

    def compare_with(self, below: _Totals) -> RungComparison:
        count = self.num_positions
        return RungComparison(
            loss_upper=self.loss / count,
            loss_lower=below.loss / count,
            kl=0.0 if below.kl < 0 else below.kl / count,  # rounding; nan stays nan
            top1=below.num_same / count,
            num_positions=count,
            max_abs_difference=below.largest,
        )


def _read_segments(sample: Sequence[Pack]) -> Iterator[tuple[Ids, Ids]]:
    for pack in sample:
        for start, end in pack.segments:
            yield pack.token_ids_T[start:end], pack.labels_T[start:end]


def _add_rows(totals: list[_Totals], logits: list[Logits], labels_N: Ids) -> None:
    """Add N positions of every model; `logits` are changed in place."""
    rows = np.arange(len(labels_N))
    above: _Rows | None = None
    for total, logits_NV in zip(totals, logits, strict=True):
        here = _normalize(logits_NV)
        total.num_positions += len(labels_N)
        total.loss -= float(here.log_probs_NV[rows, labels_N].sum(dtype=np.float64))
        if above is not None:
            difference_NV = above.log_probs_NV - here.log_probs_NV
            total.largest = float(
                np.maximum(total.largest, np.abs(difference_NV).max())
            )  # keeps nan
            # KL(p ‖ q) = Σ_v p_v (ln p_v - ln q_v)
            difference_NV *= above.probs_NV
            total.kl += float(difference_NV.sum(dtype=np.float64))
            total.num_same += int((above.best_N == here.best_N).sum())
        above = here


@dataclass(frozen=True, slots=True)
class _Rows:
    """Log-probabilities, probabilities and the most likely token of N positions."""

    log_probs_NV: Logits
    probs_NV: Logits
    best_N: Ids


def _normalize(logits_NV: Logits) -> _Rows:
    """Softmax and its logarithm; the sum is taken in fp64, the rest stays fp32."""
    logits_NV -= logits_NV.max(axis=1, keepdims=True)
    probs_NV = np.exp(logits_NV)
    sums_N1 = probs_NV.sum(axis=1, dtype=np.float64, keepdims=True)
    probs_NV /= sums_N1.astype(np.float32)
    logits_NV -= np.log(sums_N1).astype(np.float32)
    return _Rows(logits_NV, probs_NV, logits_NV.argmax(axis=1))
