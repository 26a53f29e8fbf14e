"""A base from nothing: a tokenizer from the text, and a model that has only counted it.

What comes out is a folder like that of any base, so everything after it (plan, training, merge,
export, bundle) is the same as for a base that was given.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from appliance.bases.spec import read_spec
from appliance.dataset.new_tokenizer import train_tokenizer, write_tokenizer
from appliance.dataset.terms import read_training
from appliance.dataset.text import choose_cut
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.errors import RecipeError
from appliance.recipe import DatasetRecipe, PretrainRecipe, ShapeRecipe
from appliance.rundir import StageFolder
from appliance.tuning.bigrams import MAX_VOCABULARY, count_pairs, start_from_bigrams
from appliance.values import BaseChoices, BaseSpec, Corpus

NAME = "new"


def make_base(
    corpus: Corpus,
    pattern: BaseSpec,
    dataset: DatasetRecipe,
    pretrain: PretrainRecipe,
    shape: ShapeRecipe,
    stage: StageFolder,
) -> BaseChoices:
    """Make a tokenizer and an untrained model from the training split of a corpus.

    The corpus is divided by the pattern's tokens, since there are no others yet. Where the new ones
    are longer, a document of a small corpus may change sides afterwards: what a tokenizer takes
    from it is which words are frequent.

    Args:
        corpus: what `read_corpus` returned.
        pattern: a base whose special tokens and chat template are taken.
        dataset: shares and seed of the division.
        pretrain: seed of the weights.
        shape: layers, widths, vocabulary, context.
        stage: gets the folder of the base.

    Returns:
        The new base, as the only one to choose from.

    Raises:
        RecipeError: no model has such a shape.
        DocumentsError: there is too little text.
    """
    _check_heads(shape)
    documents_file, folder = stage.open(corpus.documents_file), stage.folder / "model"
    like = load_tokenizer(Path(pattern.folder))
    cut = choose_cut(corpus, like, pattern, dataset, stage)
    special = [token.content for _, token in sorted(like.chat.get_added_tokens_decoder().items())]
    folder.mkdir(exist_ok=True)
    tokenizer = train_tokenizer(read_training(documents_file, cut), shape.vocabulary, special)
    write_tokenizer(tokenizer, Path(pattern.folder), folder)
    config = _configure(shape, load_tokenizer(folder))
    torch.manual_seed(pretrain.seed)
    model = LlamaForCausalLM(config)
    if config.vocab_size <= MAX_VOCABULARY:
        texts = read_training(documents_file, cut)
        ids = ([config.bos_token_id, *tokenizer.encode(text).ids] for text in texts)
        start_from_bigrams(model, count_pairs(ids, config.vocab_size), pretrain.seed)
    model.save_pretrained(folder)
    spec = read_spec(folder, NAME)
    final = str(stage.run / stage.locate("model"))
    return BaseChoices(specs=(spec.model_copy(update={"folder": final}),))


def _check_heads(shape: ShapeRecipe) -> None:
    """Refuse a shape that is none.

    Raises:
        RecipeError: heads do not divide what they should.
    """
    if shape.width % (2 * shape.heads) or shape.heads % shape.kv_heads:
        raise RecipeError(
            f"no model has {shape.heads} query and {shape.kv_heads} key heads at width "
            f"{shape.width}",
            why="the query heads divide half of the width, and the key heads the query heads",
            fix=f"--set shape.heads={max(1, shape.width // 64)} --set shape.kv_heads=1",
        )


def _configure(shape: ShapeRecipe, tokenizer: TextTokenizer) -> LlamaConfig:
    """The shape as transformers has it; a little text may have fewer tokens than were asked for."""
    inside = -(-shape.width * 8 // 3 // 64) * 64
    return LlamaConfig(
        vocab_size=tokenizer.chat.get_vocab_size(),
        hidden_size=shape.width,
        intermediate_size=inside if shape.intermediate == "auto" else shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.width // shape.heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.chat.token_to_id(tokenizer.eos_token),
        pad_token_id=tokenizer.chat.token_to_id("<|pad|>"),
    )
