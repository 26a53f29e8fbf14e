"""Exposure of planted canaries: how far a code that was read ranks above codes that were not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.dataset.canaries import CANDIDATES, Canary, make_example
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import write_token_file
from appliance.evaluation.scores import score_examples
from appliance.tuning.model import DecoderModel

MOST_BITS = math.log2(CANDIDATES + 1)
"""Exposure of a code that is likelier than all others."""


def measure_exposure(
    model: DecoderModel,
    canary: Canary,
    tokenizer: TextTokenizer,
    vocab_size: int,
    pack_tokens: int,
    folder: Path,
) -> float:
    """Exposure of one canary, in bits: 1.4 on the average where nothing was learned.

    Args:
        model: that was trained.
        canary: that was planted.
        tokenizer: of the base.
        vocab_size: of the base.
        pack_tokens: tokens read at a time.
        folder: gets all codes as a split.

    Source: Carlini et al. 2019, "The Secret Sharer", arXiv:1802.08232, section 4; the rank is taken
    in a sample of the codes, so exposure ends at MOST_BITS.
    """
    codes = (canary.code, *canary.others)
    examples = [make_example(canary.frame, code, tokenizer, n) for n, code in enumerate(codes)]
    split = write_token_file(folder, examples, vocab_size)
    scores = score_examples(model, split, list(range(len(codes))), pack_tokens)
    return rank_exposure(scores.nats_E)


def rank_exposure(nats_E: npt.NDArray[np.float64]) -> float:
    """Exposure of the first of some codes, in bits.

    Args:
        nats_E: negative log-likelihood of every code.
    """
    rank = 1 + int((nats_E[1:] <= nats_E[0]).sum())
    return math.log2(len(nats_E)) - math.log2(rank)
