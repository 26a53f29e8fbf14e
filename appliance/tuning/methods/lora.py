"""LoRA and QLoRA: a low-rank update beside every linear layer, kept in PEFT's own format.

With QLoRA the layers below lie in NF4; the update is the same. Letters: R rank.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from appliance.values import TrainPlan

SCALE = 2.0
"""Factor on the update, whatever its rank (rsLoRA: alpha / sqrt(R) is held constant)."""


def attach(model: PreTrainedModel, plan: TrainPlan, seed: int) -> PreTrainedModel:
    """Put a new low-rank update on every linear layer (and on the head if the plan says so).

    Args:
        model: a frozen base, in NF4 or not.
        plan: tells rank and head, and whether embeddings and head learn whole.
        seed: of the initial values of A; B begins at nought, so the model is unchanged.

    Returns:
        A PEFT model whose only trainable weights are the updates, in fp32 (and copies of
        embeddings and head).

    Source: Hu et al. 2021, arXiv:2106.09685; rsLoRA, Kalajdzievski 2023, arXiv:2312.03732.
    """
    head = model.get_output_embeddings()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (module is not head or plan.tunes_head)
    ]
    whole = [
        name
        for name, module in model.named_modules()
        if plan.tunes_embeddings and module in (head, model.get_input_embeddings())
    ]
    config = LoraConfig(
        r=plan.rank,
        lora_alpha=SCALE * math.sqrt(plan.rank),
        use_rslora=True,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=names,
        modules_to_save=whole or None,
    )
    torch.manual_seed(seed)
    return _in_fp32(get_peft_model(model, config))


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the update in PEFT's format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PEFT looks for a hub id in a local folder
        model.save_pretrained(folder, save_embedding_layers=False)


def restore(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a written update on a base again."""
    tuned: PreTrainedModel = PeftModel.from_pretrained(model, folder, is_trainable=False)
    return tuned


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Add the update to the plain weights below and give back the plain model."""
    merged: PreTrainedModel = model.merge_and_unload()
    return merged


def _in_fp32(model: PreTrainedModel) -> PreTrainedModel:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model
