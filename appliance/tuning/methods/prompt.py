"""Prompt tuning: virtual tokens before every example, whose embeddings are all that learns.

    hidden = decoder([virtual_1 … virtual_P, token_1 … token_T])

It merges into the plain architecture: the learned vectors become new rows of the embedding, and the
virtual tokens special tokens with which the chat template begins. They are read and never written:
the head of a merged model has rows for them because its embedding has, but nobody looks at those
(`DecoderModel.read_head`), and the exported graph does not compute them (`export/virtual.py`).

Letters: B batch, T tokens, D model width, V vocabulary of the base, P virtual tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from appliance.errors import BaseModelError
from appliance.values import TrainPlan

WEIGHTS = "prompt.safetensors"


class VirtualEmbedding(nn.Module):
    """The embedding of a base, with rows for virtual tokens after its last one."""

    def __init__(self, plain: nn.Embedding, virtual_PD: Tensor) -> None:
        """Take the vectors that the virtual tokens begin with; they stay in fp32."""
        super().__init__()
        self.plain = plain
        self.is_enabled = True
        self.virtual_PD = nn.Parameter(virtual_PD.float())

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Vectors of tokens; ids from V on are virtual."""
        first = self.plain.num_embeddings
        real_BTD: Tensor = self.plain(ids_BT.clamp(max=first - 1))
        virtual_BTD = F.embedding((ids_BT - first).clamp(min=0), self.virtual_PD)
        virtual_BTD = virtual_BTD * getattr(self.plain, "embed_scale", 1.0)  # Gemma scales here
        return torch.where((ids_BT < first)[..., None], real_BTD, virtual_BTD.to(real_BTD.dtype))


def attach(model: PreTrainedModel, plan: TrainPlan, seed: int) -> PreTrainedModel:
    """Put new virtual tokens before every example that the model reads.

    Args:
        model: a frozen base, in NF4 or not.
        plan: tells how many.
        seed: decides from which real tokens they take their first vectors.

    Returns:
        The same model; only the virtual tokens are trainable.

    Raises:
        BaseModelError: the base has virtual tokens already.

    Source: Lester et al. 2021, arXiv:2104.08691; beginning with vectors of the vocabulary is
    theirs, section 3.2.
    """
    if getattr(model.config, "virtual_token_ids", None):
        raise BaseModelError(
            "the base was prompt-tuned before",
            why="its chat template begins with virtual tokens, which would be read twice",
            fix="tune it with another method, such as --set tune.method=qlora, or its own base",
        )
    plain = model.get_input_embeddings()
    torch.manual_seed(seed)
    chosen_P = torch.randperm(plain.num_embeddings)[: plan.rank]
    return _put(model, plain.weight.detach()[chosen_P.to(plain.weight.device)].clone())


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the vectors of the virtual tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    virtual_PD = model.get_input_embeddings().virtual_PD
    save_file({"virtual": virtual_PD.detach().contiguous().cpu()}, folder / WEIGHTS)


def restore(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put written virtual tokens on a base again."""
    virtual_PD = load_file(folder / WEIGHTS)["virtual"]
    model = _put(model, virtual_PD.to(model.get_input_embeddings().weight.device))
    model.get_input_embeddings().virtual_PD.requires_grad_(False)
    return model


@torch.no_grad()
def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Append the vectors to the embedding and give back the plain model.

    A head of its own gets rows of noughts; a tied one has the vectors themselves. The checkpoint
    asks whoever generates with it to suppress the virtual tokens.
    """
    embedding = model.get_input_embeddings()
    first, count = embedding.plain.num_embeddings, len(embedding.virtual_PD)
    model.set_input_embeddings(embedding.plain)
    model.resize_token_embeddings(first + count, mean_resizing=False)
    rows, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if head.data_ptr() != rows.data_ptr():
        head[first:] = 0
    rows[first:] = embedding.virtual_PD.to(rows.dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.generation_config.suppress_tokens = list(model.config.virtual_token_ids)
    return model


def _put(model: PreTrainedModel, virtual_PD: Tensor) -> PreTrainedModel:
    plain = model.get_input_embeddings()
    model.set_input_embeddings(VirtualEmbedding(plain, virtual_PD))
    first = plain.num_embeddings
    model.config.virtual_token_ids = list(range(first, first + len(virtual_PD)))
    return model
