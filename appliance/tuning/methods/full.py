"""Full fine-tuning: every weight learns; there is nothing to merge."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from appliance.values import TrainPlan

WEIGHTS = "model.safetensors"


def attach(model: PreTrainedModel, plan: TrainPlan, seed: int) -> PreTrainedModel:
    """Let every weight learn."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write all weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, str(folder / WEIGHTS))


def restore(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Read all weights into a base again."""
    load_model(model, str(folder / WEIGHTS))
    return model


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Give back the model as it is."""
    return model
