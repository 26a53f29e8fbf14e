"""Whether a checkpoint is complete: every tensor there, of the right shape, with finite values.

The exporter fills a missing tensor with random values and reports success, so nobody but this
check stands between a half-written checkpoint and a plausible bundle.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from appliance.errors import ExportError

_UNMERGED = re.compile(r"\.(lora_[AB]|base_layer|absmax|quant_map|quant_state)\b|^base_model\.")
"""Names that only a checkpoint with an adapter or with packed 4-bit weights has."""

_AGAIN = "remove the stage's folder from the run and start the same command again"


def check_keys(folder: Path) -> None:
    """Compare a checkpoint with the architecture that its config.json describes.

    Args:
        folder: config.json and safetensors files.

    Raises:
        ExportError: a file cannot be read, or a tensor is missing, has another shape, is not
            finite, or belongs to an adapter that was not merged; the tensor is named.
    """
    needed = _read_needed_tensors(folder)
    present = _find_tensors(folder)
    for name in present:
        if _UNMERGED.search(name):
            raise ExportError(
                f"the checkpoint {folder.name} is not merged",
                why=f"it holds the tensor {name}, which belongs to an adapter or to 4-bit weights",
                fix=_AGAIN,
            )
    for names, shape in needed:
        found = [name for name in names if name in present]
        if not found:
            raise ExportError(
                f"the checkpoint {folder.name} is incomplete",
                why=f"the tensor {names[0]} of shape {list(shape)} is in none of its files",
                fix=_AGAIN,
            )
        for name in found:
            _check_tensor(present[name], name, shape)


def _read_needed_tensors(folder: Path) -> list[tuple[list[str], tuple[int, ...]]]:
    """Names and shape of every tensor; names of tied tensors stand together."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ExportError(
            f"the configuration of the checkpoint {folder.name} cannot be read",
            why=str(exc).splitlines()[0] if str(exc) else type(exc).__name__,
            fix=_AGAIN,
        ) from exc
    saved = model.state_dict().keys()
    tensors = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    by_identity: dict[int, tuple[list[str], tuple[int, ...]]] = {}
    for name, tensor in tensors:
        if name in saved:
            by_identity.setdefault(id(tensor), ([], tuple(tensor.shape)))[0].append(name)
    return list(by_identity.values())


def _find_tensors(folder: Path) -> dict[str, Path]:
    """The file of every tensor that transformers would load."""
    index = folder / "model.safetensors.index.json"
    try:
        if index.exists():
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = sorted({folder / Path(name).name for name in weight_map.values()})
        else:
            files = [folder / "model.safetensors"]
        tensors: dict[str, Path] = {}
        for file in files:
            with safe_open(file, framework="pt") as opened:
                tensors |= dict.fromkeys(opened.keys(), file)
    except (OSError, ValueError, KeyError, SafetensorError) as exc:
        raise ExportError(
            f"the weights of the checkpoint {folder.name} cannot be read",
            why=str(exc).splitlines()[0],
            fix=_AGAIN,
        ) from exc
    return tensors


def _check_tensor(file: Path, name: str, shape: tuple[int, ...]) -> None:
    with safe_open(file, framework="pt") as opened:
        tensor = opened.get_tensor(name)
    if tuple(tensor.shape) != shape:
        raise ExportError(
            f"the tensor {name} in {file.name} has the wrong shape",
            why=f"it is {list(tensor.shape)}, the configuration asks for {list(shape)}",
            fix=_AGAIN,
        )
    num_bad = int(tensor.numel() - torch.isfinite(tensor).sum())
    if num_bad:
        raise ExportError(
            f"the tensor {name} in {file.name} holds values that are not finite",
            why=f"{num_bad} of {tensor.numel()} are infinite or not a number",
            fix="tune again with a lower learning rate: --set tune.lr=1e-4",
        )
