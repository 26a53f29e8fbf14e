"""Full fine-tuning: every weight learns; there is nothing to merge."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_model, save_model
from torch import nn

from appliance.values import TrainPlan

WEIGHTS = "model.safetensors"


def attach(model: nn.Module, plan: TrainPlan, seed: int) -> nn.Module:
    """Let every weight learn."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def save(model: nn.Module, folder: Path) -> None:
    """Write all weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, str(folder / WEIGHTS))


def restore(model: nn.Module, folder: Path) -> nn.Module:
    """Read all weights into a base again."""
    load_model(model, str(folder / WEIGHTS))
    return model


def merge(model: nn.Module) -> nn.Module:
    """Give back the model as it is."""
    return model
