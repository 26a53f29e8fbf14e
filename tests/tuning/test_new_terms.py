"""New tokens for words of the domain: the text stays, its pieces join, rows begin as their mean."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from appliance.bases.spec import read_spec
from appliance.dataset.new_terms import add_merges, find_merges, write_in_parts
from appliance.dataset.tokenizer import load_tokenizer
from appliance.dataset.tokens import Example, write_token_file
from appliance.errors import BaseModelError
from appliance.recipe import DatasetRecipe, PretrainRecipe
from appliance.tuning.new_terms import add_terms
from appliance.values import BaseChoice
from tests.conftest import EMBEDDED
from tests.dataset.test_text import make_long_corpus, open_stage, write_documents

TEXT = "The glockenspiel player met a glockenspielist; zyxwic zyxwics and glockenspiels. " * 20


@pytest.fixture(scope="module")
def plain():
    return load_tokenizer(EMBEDDED).plain


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A Llama of one layer with the embedded tokenizer and rows to spare."""
    folder = tmp_path_factory.mktemp("base") / "small"
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=8200,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(EMBEDDED / name, folder / name)
    return folder


def extend(plain, merges):
    return add_merges((EMBEDDED / "tokenizer.json").read_text(), merges)


def test_most_frequent_neighbours_become_one_and_then_the_whole_word(plain):
    merges = find_merges([TEXT], plain, 30)

    joined = ["".join(pair) for pair in merges]
    assert "Ġglockenspiel" in joined and len(set(joined)) == len(joined)
    known = set(plain.get_vocab())
    for left, right in merges:
        assert left in known and right in known, "each joins what is there by then"
        assert left + right not in known
        known.add(left + right)
    assert find_merges([TEXT], plain, 3) == merges[:3]
    assert find_merges(["glockenspiel"], plain, 30) == [], "met once: never trained"


def test_text_is_the_same_in_fewer_tokens_and_its_parts_are_the_old_ones(plain):
    """Oracle: the old tokenizer on the same text."""
    content, parts = extend(plain, find_merges([TEXT], plain, 30))
    wider = Tokenizer.from_str(content)
    first = plain.get_vocab_size()

    for text in (TEXT, "A glockenspielist, then nothing of the kind: 12 \u00fcber <|im_end|>"):
        new = wider.encode(text, add_special_tokens=False).ids
        old = plain.encode(text, add_special_tokens=False).ids if "<|" not in text else None
        pieces = [
            piece
            for token in new
            for piece in (parts[token - first] if token >= first else [wider.id_to_token(token)])
        ]
        assert wider.decode(new, skip_special_tokens=False) == text
        if old is not None:
            assert [plain.token_to_id(piece) for piece in pieces] == old
            assert len(new) < 0.7 * len(old)


def test_tokenizer_that_is_no_bpe_over_words_is_refused():
    body = json.loads((EMBEDDED / "tokenizer.json").read_text())
    for damage in ({"pre_tokenizer": None}, {"model": body["model"] | {"type": "Unigram"}}):
        with pytest.raises(BaseModelError, match="takes no new terms") as caught:
            add_merges(json.dumps(body | damage), [])
        assert "pretrain.new_terms=0" in caught.value.fix


def test_special_tokens_beyond_the_vocabulary_keep_their_ids(plain):
    """As in tokenizers whose special tokens stand after all others."""
    body = json.loads((EMBEDDED / "tokenizer.json").read_text())
    size = len(body["model"]["vocab"])
    extra = body["added_tokens"][0] | {"id": size, "content": "<|late|>"}
    body["added_tokens"].append(extra)

    content, parts = add_merges(json.dumps(body), find_merges([TEXT], plain, 5))

    wider = Tokenizer.from_str(content)
    assert wider.token_to_id("<|late|>") == size
    assert wider.get_vocab_size() == size + 1 + len(parts)
    assert wider.encode("<|late|>").ids == [size]


def test_new_rows_of_embedding_and_head_are_the_mean_of_their_pieces(small, tmp_path):
    documents = make_long_corpus(12)
    corpus = write_documents(tmp_path, documents)
    spec = read_spec(small)
    stage = open_stage(tmp_path, name="new-terms")

    grown = add_terms(
        corpus,
        BaseChoice(spec=spec),
        DatasetRecipe(),
        PretrainRecipe(new_terms=12),
        stage,
    )

    assert grown.origin == spec and 8 < grown.num_terms <= 12
    wider = grown.choice.spec
    assert wider == read_spec(Path(wider.folder), "small+terms"), "the folder has its final name"
    assert wider.vocab_size == max(8200, 8192 + grown.num_terms)
    before = LlamaForCausalLM.from_pretrained(small)
    after = LlamaForCausalLM.from_pretrained(wider.folder)
    parts = json.loads(stage.open(grown.parts_file).read_text())
    for name in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, name)().weight, getattr(after, name)().weight
        assert torch.equal(new[:8192], old[:8192])
        for token, pieces in parts.items():
            torch.testing.assert_close(new[int(token)], old[pieces].mean(dim=0))


def test_base_reads_the_same_text_in_its_own_tokens(plain, tmp_path):
    content, parts = extend(plain, find_merges([TEXT], plain, 30))
    wider, first = Tokenizer.from_str(content), plain.get_vocab_size()
    ids = wider.encode(TEXT).ids
    example = Example(
        token_ids=[0, *ids], supervised=[False] + [True] * len(ids), document=4, num_bytes=len(TEXT)
    )
    split = write_token_file(tmp_path / "new", [example], wider.get_vocab_size())
    by_id = {
        first + number: [plain.token_to_id(piece) for piece in pieces]
        for number, pieces in enumerate(parts)
    }

    old = write_in_parts(split, [0], by_id, tmp_path / "old", plain.get_vocab_size())

    assert old.tokens_N.tolist() == [0, *plain.encode(TEXT).ids]
    assert old.supervised_N.tolist() == [0] + [1] * (len(old.tokens_N) - 1)
    assert old.examples_E5[0, 2:].tolist() == [4, 0, len(TEXT)]
