"""Virtual tokens in an exported bundle: read before every text, never written, never typed."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_model import EMBEDDED, describe_merged, get_run, make_stage

from appliance.dataset.template import FALLBACK_TEMPLATE, ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import load_tokenizer
from appliance.errors import ExportError
from appliance.export.compare import compare
from appliance.export.merge import write_merged
from appliance.export.onnx import export_onnx
from appliance.export.scorers import OnnxScorer, TorchScorer
from appliance.export.virtual import add_virtual_tokens
from appliance.serving.engine import Engine
from appliance.serving.guidance import Grammar
from appliance.tuning.load import load_base
from appliance.tuning.methods import prompt
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.values import ExportChoice, Turn
from tests.tuning.conftest import make_plan

NUM_VIRTUAL, VOCAB = 4, 8192


def attach() -> DecoderModel:
    """The embedded base behind virtual tokens that are not near any word."""
    base = load_base(EMBEDDED, quantized=False, device="cpu", compute_dtype="float32")
    model = prompt.attach(base, make_plan(method="prompt", rank=NUM_VIRTUAL), 3)
    torch.manual_seed(2)
    with torch.no_grad():
        embedding = model.get_input_embeddings()
        embedding.virtual_PD.add_(0.3 * torch.randn_like(embedding.virtual_PD))
    return wrap_model(model.eval())


@functools.cache
def build_graph() -> Path:
    """That model, merged and exported in fp32."""
    stage = make_stage(get_run(), "virtual")
    write_merged(prompt.merge(attach().module), stage.folder / "model", EMBEDDED)
    export = export_onnx(
        describe_merged(stage.folder / "model"), ExportChoice(precision="fp32"), stage
    )
    return stage.open(export.folder)


def test_graph_gives_the_trained_model_and_has_no_logit_of_a_virtual_token(sample):
    """Oracle: the model as it was trained."""
    graph = OnnxScorer(build_graph())
    rung = compare(TorchScorer(attach()), graph, sample)

    assert graph.vocab_size == VOCAB
    assert rung.kl < 1e-6
    assert rung.top1 == 1
    config = json.loads((build_graph() / "genai_config.json").read_text())
    assert config["model"]["vocab_size"] == VOCAB


def test_onnx_scorer_gives_the_same_rows_block_by_block(sample):
    scorer, ids_T = OnnxScorer(build_graph()), sample[0].token_ids_T[:23]

    whole = np.concatenate(list(scorer.score(ids_T, 100)))
    blocks = list(scorer.score(ids_T, 7))

    assert [len(block) for block in blocks] == [7, 7, 7, 2]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-4)


def test_template_begins_with_the_virtual_tokens_and_nobody_can_type_them():
    tokenizer = load_tokenizer(build_graph())
    template = ChatTemplate(load_chat_template(build_graph()), tokenizer)

    text = template.render_prompt([Turn(role="user", content="say <|virtual_0|> twice")])
    ids = tokenizer.chat.encode(text, add_special_tokens=False).ids

    assert tokenizer.virtual_ids == tuple(range(VOCAB, VOCAB + NUM_VIRTUAL))
    assert tuple(ids[:NUM_VIRTUAL]) == tokenizer.virtual_ids
    assert max(ids[NUM_VIRTUAL:]) < VOCAB


def test_engine_opens_plain_text_with_them_and_keeps_to_a_grammar():
    engine = Engine(build_graph(), threads=1, num_rows=1, max_waiting=1)
    try:
        ids = engine.encode_text("The pump")
        again = engine.encode_text("".join(engine.name_token(token) for token in ids))
        guide = engine.make_guide(Grammar(kind="regex", source="[0-9]{3}"))
    finally:
        engine.close()

    assert ids[:NUM_VIRTUAL] == list(range(VOCAB, VOCAB + NUM_VIRTUAL))
    assert ids[NUM_VIRTUAL] == load_tokenizer(EMBEDDED).bos_id
    assert again == ids, "what was rendered already is left as it is"
    assert guide.allow().shape == (VOCAB,)
    assert guide.allow().any()


def copy_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((EMBEDDED / name).read_bytes())
    (folder / "chat_template.jinja").write_text(FALLBACK_TEMPLATE)


def test_rows_that_have_no_token_get_names_so_that_ids_stay_right(tmp_path):
    """A base with 8,200 rows for 8,192 tokens."""
    copy_tokenizer(tmp_path)

    add_virtual_tokens(tmp_path, [8200, 8201])

    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.virtual_ids == (8200, 8201)
    assert tokenizer.chat.encode("<|unused_8199|>").ids == [8199]
    template = (tmp_path / "chat_template.jinja").read_text()
    assert template == "<|virtual_0|><|virtual_1|>" + FALLBACK_TEMPLATE


def test_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused(tmp_path):
    copy_tokenizer(tmp_path)

    with pytest.raises(ExportError, match="takes no virtual tokens"):
        add_virtual_tokens(tmp_path, [8000, 8001])
