"""A base with more tokens: its tokenizer learned words of the domain, its rows are their means.

What comes out is a folder like that of any base, so the new tokens are trained, merged, exported
and served like all others.

Letters: V vocabulary, D model width.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from appliance.bases.spec import TEXT_FILES, read_spec
from appliance.dataset.new_terms import add_merges, find_merges
from appliance.dataset.terms import read_training
from appliance.dataset.text import choose_cut
from appliance.dataset.tokenizer import load_tokenizer
from appliance.errors import BaseModelError
from appliance.files import write_text
from appliance.recipe import DatasetRecipe, PretrainRecipe
from appliance.rundir import StageFolder
from appliance.values import BaseChoice, BaseSpec, Corpus, NewTerms

SUFFIX = "+terms"


def add_terms(
    corpus: Corpus,
    choice: BaseChoice,
    dataset: DatasetRecipe,
    pretrain: PretrainRecipe,
    stage: StageFolder,
) -> NewTerms:
    """Give a base tokens for frequent words of the training split that it cuts into pieces.

    Args:
        corpus: what `read_corpus` returned.
        choice: the base, and why not the others.
        dataset: shares and seed of the division.
        pretrain: how many tokens.
        stage: gets the folder of the new base.

    Returns:
        The larger base beside the one it was made from; the same one where no word is frequent
        enough.

    Raises:
        BaseModelError: the tokenizer takes no new tokens.
        DocumentsError: there is too little text.
    """
    spec, documents_file = choice.spec, stage.open(corpus.documents_file)
    base = Path(spec.folder)
    tokenizer = load_tokenizer(base)
    if tokenizer.virtual_ids:
        raise BaseModelError(
            "a prompt-tuned base takes no new terms",
            why="its virtual tokens must stay the last of its vocabulary",
            fix="--set pretrain.new_terms=0, or pretrain the base it was tuned from",
        )
    cut = choose_cut(corpus, tokenizer, spec, dataset, stage)
    texts = read_training(documents_file, cut)
    merges = find_merges(texts, tokenizer.plain, pretrain.new_terms)
    content, parts = add_merges((base / "tokenizer.json").read_text(encoding="utf-8"), merges)
    if not parts:
        return NewTerms(choice=choice, origin=spec)
    folder = stage.folder / "model"
    folder.mkdir(exist_ok=True)
    first = tokenizer.chat.get_vocab_size()
    vocabulary = tokenizer.chat.get_vocab()
    ids = [[vocabulary[piece] for piece in pieces] for pieces in parts]
    write_text(stage.folder / "parts.json", json.dumps(dict(enumerate(ids, start=first))))
    _write_weights(base, folder, first, ids)
    for name in TEXT_FILES:
        if name not in ("config.json", "tokenizer.json") and (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    write_text(folder / "tokenizer.json", content)
    return NewTerms(
        choice=choice.model_copy(update={"spec": _describe(folder, spec, stage)}),
        origin=spec,
        num_terms=len(parts),
        parts_file=stage.locate("parts.json"),
    )


def _write_weights(base: Path, folder: Path, first: int, parts: list[list[int]]) -> None:
    """The base's weights with rows for the new tokens; rows it had to spare are used first."""
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    wanted = first + len(parts)
    if wanted > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(wanted, mean_resizing=False)
    start_from_parts(model, first, parts)
    model.save_pretrained(folder)


@torch.no_grad()
def start_from_parts(model: PreTrainedModel, first: int, parts: list[list[int]]) -> None:
    """Set the rows of new tokens, in embedding and head, to the mean of their pieces' rows.

    Args:
        model: has rows for the new tokens.
        first: id of the first new token.
        parts: ids of the pieces of every new token.

    Source: mean of the pieces: Gee et al. 2022, arXiv:2402.09977, "Fast Vocabulary Transfer".
    """
    rows_VD: Tensor = model.get_input_embeddings().weight
    head_VD: Tensor = model.get_output_embeddings().weight
    for matrix_VD in (rows_VD,) if head_VD is rows_VD else (rows_VD, head_VD):
        for number, ids in enumerate(parts):
            matrix_VD[first + number] = matrix_VD[ids].float().mean(dim=0).to(matrix_VD.dtype)


def _describe(folder: Path, spec: BaseSpec, stage: StageFolder) -> BaseSpec:
    """The larger base, under its final name; its licence is that of the base it comes from."""
    made = read_spec(folder, spec.name + SUFFIX)
    final = str(stage.run / stage.locate("model"))
    return made.model_copy(update={"folder": final, "licence": spec.licence})
