"""A base from nothing: a tokenizer that loses nothing, and a first guess that counted the text."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from appliance.bases.spec import read_spec
from appliance.dataset.tokenizer import load_tokenizer
from appliance.errors import RecipeError
from appliance.recipe import DatasetRecipe, PretrainRecipe, ShapeRecipe
from appliance.tuning.bigrams import count_pairs, start_from_bigrams
from appliance.tuning.new_base import make_base
from tests.conftest import EMBEDDED
from tests.dataset.test_text import make_long_corpus, open_stage, write_documents

SHAPE = ShapeRecipe(
    layers=1, width=64, heads=2, kv_heads=1, vocabulary=340, context=128, intermediate=96
)


def make(run, shape=SHAPE):
    corpus = write_documents(run, make_long_corpus(12))
    stage = open_stage(run, name="new-base")
    return make_base(
        corpus, read_spec(EMBEDDED), DatasetRecipe(), PretrainRecipe(start="nothing"), shape, stage
    )


def test_new_base_is_a_folder_like_any_other_and_reads_every_text(tmp_path):
    (spec,) = make(tmp_path).specs

    assert spec == read_spec(Path(spec.folder), "new"), "the folder has its final name"
    assert (spec.num_layers, spec.width, spec.intermediate_width) == (1, 64, 96)
    assert spec.exportable and not spec.tied
    tokenizer = load_tokenizer(Path(spec.folder))
    assert tokenizer.chat.get_vocab_size() == spec.vocab_size <= 340
    text = "Ein Ölventil: 42 \U0001f529\n\ttorque <|im_end|>"
    (encoding,) = tokenizer.encode([text])
    assert tokenizer.plain.decode(encoding.ids) == text
    assert tokenizer.bos_id == 0, "the roles of the pattern's special tokens"
    (known,) = tokenizer.encode([" torque"])
    assert len(known.ids) == 1, "a frequent word is one token"


def test_same_text_and_seed_make_the_same_base(tmp_path):
    first, second = (make(tmp_path / name).specs[0] for name in ("one", "two"))

    assert first.sha256 == second.sha256


@pytest.mark.parametrize("changes", [{"heads": 3}, {"kv_heads": 3}, {"width": 96, "heads": 64}])
def test_shape_that_is_none_is_refused_with_a_fix(tmp_path, changes):
    with pytest.raises(RecipeError, match="no model has") as caught:
        make(tmp_path, SHAPE.model_copy(update=changes))

    assert "shape.heads=1" in caught.value.fix


def test_first_guess_is_the_bigram_model_of_the_text():
    """Oracle: the conditional entropy of a chain whose transitions are known."""
    rng = np.random.default_rng(1)
    transitions_VV = rng.dirichlet(np.full(24, 0.3), size=24)
    ids = [0]
    for _ in range(20_000):
        ids.append(int(rng.choice(24, p=transitions_VV[ids[-1]])))
    config = LlamaConfig(
        vocab_size=24,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    counts_VV = count_pairs([ids], 24)
    assert counts_VV[ids[0], ids[1]] >= 1 and counts_VV.sum() == len(ids) - 1

    start_from_bigrams(model, counts_VV, seed=0)

    with torch.no_grad():
        row = torch.tensor([ids[:4000]])
        loss = model(input_ids=row[:, :512], labels=row[:, :512]).loss.item()
    share_V = counts_VV.sum(1) / counts_VV.sum()
    entropy = -float((share_V[:, None] * transitions_VV * np.log(transitions_VV + 1e-12)).sum())
    assert entropy - 0.15 < loss < entropy + 0.3 < math.log(24)
