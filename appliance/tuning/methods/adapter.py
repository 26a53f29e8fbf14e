"""Adapter tuning: a gated bottleneck in parallel to the gated MLP of the top layers.

    y = mlp(x) + down_A (act(gate_A x) * up_A x)

It merges exactly into the plain architecture: the bottleneck's rows become new channels of the
MLP, so `intermediate_size` grows by R in every layer, rounded up (what is not learned is zeros).
Below the first bottleneck nothing sees a gradient.

Letters: D model width, I intermediate width, R width of the bottleneck.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from appliance.values import TrainPlan

TOP_SHARE = 0.5
"""Part of the layers, counted from the top, that get a bottleneck."""

WIDTH_MULTIPLE = 64
"""A merged MLP is filled with zeros up to a multiple of this.

Source: the k-quant algorithm of onnxruntime 1.32 fails on a width that its block of 32 does not
divide; 64 suits NF4 too, should the merged model be tuned again.
"""

WEIGHTS, CONFIG = "adapter.safetensors", "adapter.json"


class GatedBottleneck(nn.Module):
    """An MLP with a small one of the same kind beside it."""

    def __init__(self, mlp: Any, width: int, rank: int, device: torch.device) -> None:
        """Begin without effect: the way back (`down`) is nought."""
        super().__init__()
        self.mlp = mlp
        self.is_enabled = True
        self.gate_RD = nn.Parameter(torch.empty(rank, width, device=device))
        self.up_RD = nn.Parameter(torch.empty(rank, width, device=device))
        self.down_DR = nn.Parameter(torch.zeros(width, rank, device=device))
        for weight in (self.gate_RD, self.up_RD):
            nn.init.normal_(weight, std=1 / math.sqrt(width))

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """The MLP's output plus the bottleneck's."""
        return self.add(hidden_BTD, self.mlp(hidden_BTD))

    def add(self, hidden_BTD: Tensor, out_BTD: Tensor) -> Tensor:
        """The bottleneck's output on top of what the MLP made of the same input."""
        if not self.is_enabled:
            return out_BTD
        plain = hidden_BTD.to(self.gate_RD.dtype)
        inner_BTR: Tensor = self.mlp.act_fn(plain @ self.gate_RD.t()) * (plain @ self.up_RD.t())
        return out_BTD + (inner_BTR @ self.down_DR.t()).to(out_BTD.dtype)


def attach(model: PreTrainedModel, plan: TrainPlan, seed: int) -> PreTrainedModel:
    """Put a new bottleneck beside the MLP of the top layers.

    Args:
        model: a frozen base with gated MLPs (Llama, Qwen, Mistral), in NF4 or not.
        plan: tells the width of the bottleneck.
        seed: of its initial values.

    Returns:
        The same model; only the bottlenecks are trainable.

    Source: parallel adapters, He et al. 2022, arXiv:2110.04366; gating as in Shazeer 2020,
    arXiv:2002.05202.
    """
    torch.manual_seed(seed)
    layers = model.get_decoder().layers
    first = len(layers) - max(1, round(TOP_SHARE * len(layers)))
    for layer in layers[first:]:
        width = model.config.hidden_size
        layer.mlp = GatedBottleneck(layer.mlp, width, plan.rank, layer.mlp.down_proj.weight.device)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the bottlenecks as safetensors, with their shape beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = _find(model)
    tensors = {
        f"{number}.{name}": value.detach().contiguous().cpu()
        for number, bottleneck in found.items()
        for name, value in bottleneck.named_parameters(recurse=False)
    }
    save_file(tensors, folder / WEIGHTS)
    rank = next(iter(found.values())).gate_RD.shape[0]
    (folder / CONFIG).write_text(json.dumps({"layers": sorted(found), "rank": rank}))


def restore(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put written bottlenecks on a base again."""
    tensors = load_file(folder / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text())
    layers = model.get_decoder().layers
    for number in config["layers"]:
        mlp = layers[number].mlp
        device = mlp.down_proj.weight.device
        bottleneck = GatedBottleneck(mlp, model.config.hidden_size, config["rank"], device)
        for name, value in bottleneck.named_parameters(recurse=False):
            value.data.copy_(tensors[f"{number}.{name}"])
            value.requires_grad_(False)
        layers[number].mlp = bottleneck
    return model


@torch.no_grad()
def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Widen every MLP by the bottleneck's channels and give back the plain model."""
    found = _find(model)
    rank = next(iter(found.values())).gate_RD.shape[0]
    old_width = model.config.intermediate_size
    new_width = -(-(old_width + rank) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    for number, bottleneck in found.items():
        model.get_decoder().layers[number].mlp = bottleneck.mlp
    for number, layer in enumerate(model.get_decoder().layers):
        mlp, trained = layer.mlp, found.get(number)
        for name, dim in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
            linear = getattr(mlp, name)
            extra_shape = list(linear.weight.shape)
            extra_shape[dim] = new_width - old_width
            extra = linear.weight.new_zeros(extra_shape)
            if trained is not None:
                short = name.removesuffix("_proj") + ("_DR" if dim else "_RD")
                extra.narrow(dim, 0, rank).copy_(getattr(trained, short))
            linear.weight = nn.Parameter(
                torch.cat([linear.weight, extra], dim=dim), requires_grad=False
            )
            linear.out_features, linear.in_features = linear.weight.shape
            if dim == 0 and linear.bias is not None:
                wider = nn.functional.pad(linear.bias, (0, new_width - old_width))
                linear.bias = nn.Parameter(wider, requires_grad=False)
        mlp.intermediate_size = new_width
    model.config.intermediate_size = new_width
    return model


def _find(model: PreTrainedModel) -> dict[int, GatedBottleneck]:
    return {
        number: layer.mlp
        for number, layer in enumerate(model.get_decoder().layers)
        if isinstance(layer.mlp, GatedBottleneck)
    }
