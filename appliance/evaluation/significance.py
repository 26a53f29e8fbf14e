"""How sure a mean, and a difference between two ways of answering the same questions, is.

Questions of one document are not independent: all resampling is by document.
Letters: Q questions, U documents, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 4_000
"""Of a bootstrap or a permutation test: a p-value of 0.05 is then good to 0.007."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        p_value: that a difference at least as large comes from chance, two-sided; None for a mean.
    """

    mean: float
    low: float
    high: float
    p_value: float | None = None


def estimate_mean(scores: Sequence[float], documents: Sequence[int], seed: int = 0) -> Estimate:
    """Mean of the scores, with a 95 % interval over documents.

    Where all documents agree, resampling would claim to be certain: the interval is then that of
    as many equal answers to yes-or-no questions.

    Args:
        scores: one a question, 0 to 1.
        documents: the document of each question.
        seed: of the resamples.

    Source: bootstrap by clusters, Field and Welsh 2007; the exception: Wilson 1927.
    """
    sums_U, counts_U = _gather(scores, documents)
    mean = float(sums_U.sum() / counts_U.sum())
    low, high = _bootstrap(sums_U, counts_U, seed)
    if high - low < 1e-9:
        low, high = _wilson(mean, len(counts_U))
    return Estimate(mean=mean, low=low, high=high)


def compare_scores(
    ours: Sequence[float], theirs: Sequence[float], documents: Sequence[int], seed: int = 0
) -> Estimate:
    """Mean of ours minus theirs, question by question.

    Args:
        ours: score of each question in one way.
        theirs: in the other way, the same questions.
        documents: the document of each question.
        seed: of the resamples.

    Source: interval: paired bootstrap, Koehn 2004; p-value: sign flips by cluster, Fisher 1935,
    with the observed one counted among them (Phipson and Smyth 2010), so that it is never nought.
    """
    difference = (np.asarray(ours, float) - np.asarray(theirs, float)).tolist()
    sums_U, counts_U = _gather(difference, documents)
    low, high = _bootstrap(sums_U, counts_U, seed)
    rng = np.random.default_rng([seed, 1])
    signs_RU = rng.choice((-1.0, 1.0), size=(RESAMPLES, len(sums_U)))
    is_as_large_R = np.abs(signs_RU @ sums_U) >= abs(sums_U.sum()) - 1e-9
    return Estimate(
        mean=float(sums_U.sum() / counts_U.sum()),
        low=low,
        high=high,
        p_value=float((1 + is_as_large_R.sum()) / (1 + RESAMPLES)),
    )


def measure_calibration(confidences: Sequence[float], hits: Sequence[bool], bins: int = 5) -> float:
    """Expected calibration error: how far confidence and share of right choices lie apart, 0 to 1.

    Source: Naeini, Cooper and Hauskrecht 2015; five bins of equal width, for there are tens of
    questions and not thousands.
    """
    sure_Q, hit_Q = np.asarray(confidences, float), np.asarray(hits, float)
    bin_Q = np.minimum((sure_Q * bins).astype(int), bins - 1)
    apart = [
        abs(float((sure_Q - hit_Q)[bin_Q == number].sum())) for number in np.unique(bin_Q).tolist()
    ]
    return sum(apart) / max(1, len(sure_Q))


def _gather(
    scores: Sequence[float], documents: Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sum of the scores and number of questions of each document."""
    _, index_Q = np.unique(np.asarray(documents), return_inverse=True)
    weights_Q = np.asarray(scores, np.float64)
    sums_U = np.bincount(index_Q, weights=weights_Q).astype(np.float64)
    counts_U = np.bincount(index_Q, weights=np.ones_like(weights_Q)).astype(np.float64)
    return sums_U, counts_U


def _bootstrap(
    sums_U: npt.NDArray[np.float64], counts_U: npt.NDArray[np.float64], seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn_RU = rng.integers(len(sums_U), size=(RESAMPLES, len(sums_U)))
    means_R = sums_U[drawn_RU].sum(axis=1) / counts_U[drawn_RU].sum(axis=1)
    low, high = np.quantile(means_R, [0.025, 0.975])
    return float(low), float(high)


def _wilson(share: float, number: int) -> tuple[float, float]:
    z2 = 1.96**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    reach = 1.96 * (share * (1 - share) / number + z2 / (4 * number**2)) ** 0.5 / (1 + z2 / number)
    return max(0.0, middle - reach), min(1.0, middle + reach)
