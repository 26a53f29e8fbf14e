"""What tuning made the model forget: general text, and what the base itself would say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from appliance.dataset.tokens import Example, TokenFile, open_token_file, write_token_file
from appliance.evaluation.scores import ExampleScores, score_examples
from appliance.rundir import StageFolder
from appliance.tuning.method import opened_base
from appliance.tuning.model import DecoderModel
from appliance.values import BaseSpec, GeneralScore, Split, TrainPlan

OWN_TEXTS, OWN_PROMPT, OWN_TOKENS = 16, 8, 48
"""Texts that the base goes on with in its own words: how many, after how many tokens, how far."""


def measure_forgetting(
    model: DecoderModel,
    plan: TrainPlan,
    spec: BaseSpec,
    general: Split,
    limit: float,
    stage: StageFolder,
) -> GeneralScore:
    """Score base and tuned model on general text, and on what the base would say.

    Args:
        model: the tuned one.
        plan: tells the method, and how much is read at a time.
        spec: the base model.
        general: text that neither was trained on.
        limit: rise of its loss that is too much.
        stage: what the base said is kept in it.
    """
    split, length = open_token_file(stage.open(general.folder)), plan.sequence_length
    rows = [row for row, labels in enumerate(split.count_labels()) if labels]
    after = score_examples(model, split, rows, length)
    with opened_base(model, spec, plan) as base:
        before = score_examples(base, split, rows, length)
        own = sample_outputs(base, split, spec.vocab_size, stage.folder / "own")
        every = list(range(len(own.examples_E5)))
        own_before = score_examples(base, own, every, length)
    own_after = score_examples(model, own, every, length)
    score = compare_general(before, after, limit)
    drift = float((own_after.nats_E - own_before.nats_E).sum() / own_after.labels_E.sum())
    return score.model_copy(update={"own_drift": drift})


def compare_general(before: ExampleScores, after: ExampleScores, limit: float) -> GeneralScore:
    """Both scores of general text side by side."""
    return GeneralScore(
        base_bits_per_byte=before.bits_per_byte(),
        tuned_bits_per_byte=after.bits_per_byte(),
        rise=float(after.nats_E.sum() / before.nats_E.sum() - 1),
        limit=limit,
    )


@torch.no_grad()
def sample_outputs(
    base: DecoderModel, general: TokenFile, vocab_size: int, folder: Path
) -> TokenFile:
    """What the base says after the beginnings of some general texts, by chance of a fixed seed.

    The mean difference of two models' losses on samples of the first is an estimate, without bias,
    of their Kullback-Leibler divergence.

    Args:
        base: the model that speaks.
        general: whose texts it goes on with.
        vocab_size: of the base.
        folder: gets a split with what was said as labels.
    """
    starts = [
        general.tokens_N[start : start + OWN_PROMPT].tolist()
        for start, length, *_ in general.examples_E5[: 4 * OWN_TEXTS]
        if length >= OWN_PROMPT
    ][:OWN_TEXTS]
    return write_token_file(folder, _continue(base, starts), vocab_size)


def _continue(base: DecoderModel, starts: Sequence[Sequence[int]]) -> list[Example]:
    ids_BT = torch.tensor(starts, device=next(base.module.parameters()).device)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out_BT = base.module.generate(
            input_ids=ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            max_new_tokens=OWN_TOKENS,
            min_new_tokens=OWN_TOKENS,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=0,
        )
    return [
        Example(
            token_ids=row,
            supervised=[False] * OWN_PROMPT + [True] * (len(row) - OWN_PROMPT),
            document=number,
        )
        for number, row in enumerate(out_BT.tolist())
    ]
