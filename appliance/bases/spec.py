"""A base model on disk: read, checked and described without loading it.

A folder is refused here, before anything is trained, when it would fail or mislead later: code in
it, pickle, missing or damaged weights, no tokenizer. Nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from appliance.bases.config import read_architecture, read_config, read_shape
from appliance.bases.families import FAMILIES, Shape, find_why_not_exportable
from appliance.bases.licence import read_licence
from appliance.bases.parameters import count_parameters
from appliance.bases.refusals import refuse_links, refuse_unsafe
from appliance.bases.tensors import list_tensors
from appliance.bases.weights import Weights, read_weights
from appliance.errors import BaseModelError
from appliance.units import MIB
from appliance.values import BaseSpec

FULL_HASH_BYTES = 64 * MIB
"""Weight files up to this size are hashed in full."""

TEXT_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)
"""Files beside the weights that decide what the model does."""


def read_spec(folder: Path, name: str | None = None, *, inside: Path | None = None) -> BaseSpec:
    """Describe a base model.

    Args:
        folder: config.json, tokenizer.json and safetensors, as transformers saves them.
        name: how people call it; the folder's own name when None.
        inside: links in the folder may lead no further than this one; the folder itself when None.

    Returns:
        Its shape, size, licence and whether it can be exported. `sha256` covers the text files and
        the weights: weight files under 64 MiB in full; of larger ones the header, the size, and
        the first and last MiB of data, which tells models apart but is no proof against tampering.

    Raises:
        BaseModelError: the folder is missing, unsafe, damaged or not a causal language model.
    """
    if not folder.is_dir():
        raise BaseModelError(
            f"base model folder {folder} is not there",
            why="no folder has this name",
            fix="pass the path of a model folder, or --base embedded for the one that ships inside",
        )
    refuse_links(folder, inside or folder)
    config = read_config(folder)
    refuse_unsafe(folder, config)
    if not (folder / "tokenizer.json").is_file():
        raise BaseModelError(
            f"{folder} has no tokenizer.json",
            why="the serving engine reads tokenizers in this format alone",
            fix="save the tokenizer as a fast tokenizer (transformers: save_pretrained) beside it",
        )
    architecture = read_architecture(folder, config)
    shape = read_shape(folder / "config.json", config)
    weights = read_weights(folder)
    _check_tensors(folder, architecture, shape, config, weights)
    why_not = _find_why_not(folder, architecture, config)
    return BaseSpec(
        name=name or folder.resolve().name,
        folder=str(folder.resolve()),
        architecture=architecture,
        model_type=str(config.get("model_type", "")),
        num_layers=shape.num_layers,
        width=shape.width,
        intermediate_width=shape.intermediate_width,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_width=shape.head_width,
        vocab_size=shape.vocab_size,
        context=shape.context,
        tied=shape.tied,
        num_parameters=weights.num_parameters,
        weights_bytes=weights.num_bytes,
        dtype=weights.dtype,
        licence=read_licence(folder),
        exportable=not why_not,
        why_not=why_not,
        sha256=hash_base(folder, weights),
    )


def hash_base(folder: Path, weights: Weights) -> str:
    """sha256 over the text files and the weights (large ones in part, see `read_spec`)."""
    total = hashlib.sha256()
    for name in TEXT_FILES:
        if (folder / name).is_file():
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            total.update(f"{name} {digest}\n".encode())
    for path in weights.files:
        total.update(f"{path.name} {_hash_weights(path)}\n".encode())
    return total.hexdigest()


def _hash_weights(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < FULL_HASH_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        start = file.read(8)
        header = file.read(int.from_bytes(start, "little"))
        digest = hashlib.sha256(start + header + size.to_bytes(8, "little") + file.read(MIB))
        file.seek(-MIB, 2)
        digest.update(file.read())
        return digest.hexdigest()


def _check_tensors(
    folder: Path, architecture: str, shape: Shape, config: dict[str, Any], weights: Weights
) -> None:
    """Refuse missing or misshapen tensors: loading would replace them by random numbers."""
    family = FAMILIES.get(architecture)
    for name, size in (list_tensors(family, shape, config) if family else {}).items():
        found = weights.tensors.get(name)
        if found is None or found.shape != size:
            state = f"has shape {list(found.shape)}" if found else "is missing"
            raise _incomplete(folder, f"tensor {name} {state}; config.json asks for {list(size)}")
    wanted, stored = _count_parameters(folder, architecture, shape, config), weights.num_parameters
    if stored < wanted:
        raise _incomplete(folder, f"it holds {stored:,} weights; config.json asks for {wanted:,}")
    beyond = _find_layer_beyond(shape, weights)
    if beyond:
        raise BaseModelError(
            f"{folder} holds more layers than config.json describes",
            why=f"tensor {beyond} is there; config.json asks for {shape.num_layers} layers",
            fix="copy the model folder again; config.json and weights must belong together",
        )


def _find_layer_beyond(shape: Shape, weights: Weights) -> str:
    """A tensor of a layer that config.json does not count; "" for none."""
    for name in weights.tensors:
        match = re.match(r"model\.layers\.(\d{1,9})\.", name)
        if match and int(match[1]) >= shape.num_layers:
            return name
    return ""


def _count_parameters(folder: Path, architecture: str, shape: Shape, config: dict[str, Any]) -> int:
    try:
        return count_parameters(architecture, shape, config)
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise _wrong_kind(folder, exc) from exc


def _find_why_not(folder: Path, architecture: str, config: dict[str, Any]) -> str:
    try:
        return find_why_not_exportable(architecture, config)
    except (TypeError, ValueError, OverflowError) as exc:
        raise _wrong_kind(folder, exc) from exc


def _incomplete(folder: Path, why: str) -> BaseModelError:
    return BaseModelError(
        f"{folder} does not hold the whole model",
        why=why,
        fix="copy the model folder again; config.json and weights must belong together",
    )


def _wrong_kind(folder: Path, exc: Exception) -> BaseModelError:
    return BaseModelError(
        f"{folder / 'config.json'} has a value of the wrong kind",
        why=f"the key {exc} is missing" if isinstance(exc, KeyError) else str(exc)[:200],
        fix="copy the file again",
    )
