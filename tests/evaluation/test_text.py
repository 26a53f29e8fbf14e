"""Judging pretraining: guessed terms, and the limit on what is forgotten."""

import pytest
import torch

from appliance.dataset.pack import IGNORED, build_pack
from appliance.describe import describe_kept
from appliance.evaluation.text import measure_guessed
from appliance.tuning.load import load_base
from appliance.tuning.model import wrap_model
from appliance.values import EvalReport, GeneralScore, Score, TermScore
from tests.tuning.conftest import split, tiny_folder  # noqa: F401  (fixtures)


@torch.no_grad()
def test_guessed_share_counts_packs_whose_every_label_comes_first(tiny_folder, split):  # noqa: F811
    """Oracle: labels taken from the logits of the model itself, one of them then changed."""
    base = load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32")
    model = wrap_model(base.eval())
    packs = [build_pack(split, [row]) for row in (1, 2)]
    for pack in packs:
        guesses = (model.read_hidden(pack) @ model.read_head().t()).argmax(dim=1)
        pack.labels_T[:] = IGNORED
        pack.labels_T[2:4] = guesses[2:4].numpy()

    assert measure_guessed(model, packs) == 1.0
    packs[1].labels_T[3] = (packs[1].labels_T[3] + 1) % 128
    assert measure_guessed(model, packs) == 0.5
    assert measure_guessed(model, []) == 0.0


@pytest.mark.parametrize(("rise", "has_forgotten"), [(0.021, True), (0.02, False), (-0.1, False)])
def test_rise_above_the_limit_marks_the_verdict(rise, has_forgotten):
    general = GeneralScore(base_bits_per_byte=1.5, tuned_bits_per_byte=1.6, rise=rise, limit=0.02)

    assert general.has_forgotten is has_forgotten
    lines = describe_kept(make_report(general))
    assert ("MORE THAN THE LIMIT" in lines[0]) is has_forgotten
    assert any("replay_share" in line for line in lines) is has_forgotten


def test_terms_are_told_before_and_after():
    terms = TermScore(
        num_places=40, base_share=0.1, tuned_share=0.25, base_loss=6.0, tuned_loss=4.0
    )

    (line,) = describe_kept(make_report(None, terms))

    assert "10.0 % → 25.0 % guessed of 40, loss 6.00 → 4.00" in line


def make_report(general, terms=None):
    score = Score(loss=1, text_loss=1, answer_loss=None, bits_per_byte=1, answer_f1=None)
    return EvalReport(
        base=score,
        tuned=score,
        num_documents=1,
        num_labels=1,
        improvement=0,
        improvement_low=0,
        improvement_high=0,
        text_improvement=None,
        text_improvement_low=None,
        text_improvement_high=None,
        answers_file="",
        general=general,
        terms=terms,
    )
