"""From logits to a token: what was asked for, one draw, and how likely it was.

Every answer has a random state of its own, so that a seed gives the same answer whoever else is
served at the same time. Letters: V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from appliance.serving.decoder import Logits

_CANDIDATES = 512
"""Tokens that are sorted first when a share of the probability is asked for; mostly enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 takes the most likely token; higher is more varied.
        top_p: share of the probability that is drawn from.
        top_k: number of tokens that are drawn from; 0 for all.
        seed: of the draws; None for a new one each time.
        presence_penalty: taken from the logits of tokens that were said.
        frequency_penalty: the same, for every time they were said.
        biases: added to the logits of tokens.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    biases: Mapping[int, float] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the model's own most likely token is taken."""
        return not (
            self.temperature or self.presence_penalty or self.frequency_penalty or self.biases
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenScore:
    """How likely a token was, and which were the most likely ones.

    Attributes:
        token_id: that was chosen.
        logprob: its natural logarithm, by the model itself, before any option changed it.
        top: the most likely tokens and their logarithms, best first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Chooses the tokens of one answer."""

    def __init__(self, sampling: Sampling) -> None:
        """Start the random state."""
        self._sampling = sampling
        seed = sampling.seed
        self._random = np.random.default_rng(None if seed is None else seed % 2**64)
        self._said: dict[int, int] = {}

    def choose(self, logits_V: Logits, allowed_V: npt.NDArray[np.bool_] | None = None) -> int:
        """Draw a token.

        Args:
            logits_V: of the model; not changed.
            allowed_V: which tokens a grammar allows; None for all.
        """
        if self._sampling.is_plain and allowed_V is None:
            return int(logits_V.argmax())
        token = self._draw(self._adjust(logits_V, allowed_V))
        self._said[token] = self._said.get(token, 0) + 1
        return token

    def _adjust(self, logits_V: Logits, allowed_V: npt.NDArray[np.bool_] | None) -> Logits:
        adjusted_V = logits_V.copy()
        options = self._sampling
        for token, bias in options.biases.items():
            adjusted_V[token] += bias
        if options.presence_penalty or options.frequency_penalty:
            for token, count in self._said.items():
                adjusted_V[token] -= options.presence_penalty + count * options.frequency_penalty
        if allowed_V is not None:
            adjusted_V[~allowed_V] = -np.inf
        return adjusted_V

    def _draw(self, logits_V: Logits) -> int:
        options = self._sampling
        if not options.temperature or options.top_k == 1:
            return int(logits_V.argmax())
        tokens = _take_top(logits_V, options.top_k) if options.top_k else None
        logits = logits_V if tokens is None else logits_V[tokens]
        weights = np.exp((logits - logits.max()).astype(np.float64) / options.temperature)
        if options.top_p < 1:
            kept = keep_share(weights, options.top_p)
            tokens = kept if tokens is None else tokens[kept]
            weights = weights[kept]
        place = int(
            np.searchsorted(weights.cumsum(), self._random.random() * weights.sum(), side="right")
        )
        place = min(place, len(weights) - 1)  # rounding may lead past the end
        return place if tokens is None else int(tokens[place])


def keep_share(weights: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.intp]:
    """The fewest of the heaviest entries that have this share of the weight together.

    Returns:
        Their places, heaviest first; at least one.

    Source: nucleus sampling, Holtzman et al. 2020, https://arxiv.org/abs/1904.09751.
    """
    wanted = share * weights.sum()
    places = _take_top(weights, _CANDIDATES)
    if weights[places].sum() < wanted:
        places = np.argsort(-weights, kind="stable")
    order = places[np.argsort(-weights[places], kind="stable")]
    enough = int(np.searchsorted(weights[order].cumsum(), wanted)) + 1
    return order[:enough]


def score_token(logits_V: Logits, token_id: int, num_top: int) -> TokenScore:
    """How likely a token was.

    Args:
        logits_V: of the model.
        token_id: that was chosen.
        num_top: most likely tokens that are told beside it.
    """
    highest = float(logits_V.max())
    total = highest + math.log(np.exp(logits_V - highest).sum(dtype=np.float64))
    best = _take_top(logits_V, num_top) if num_top else np.empty(0, dtype=np.intp)
    best = best[np.argsort(-logits_V[best], kind="stable")]
    return TokenScore(
        token_id=token_id,
        logprob=float(logits_V[token_id]) - total,
        top=tuple((int(token), float(logits_V[token]) - total) for token in best),
    )


def _take_top(values: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.intp]:
    """Places of the largest values, in no order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, len(values) - count)[-count:]
