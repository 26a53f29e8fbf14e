"""A base model on disk: read, checked and described without loading it.

A folder is refused here, before anything is trained, when it would fail or mislead later: code in
it, pickle, missing or damaged weights, no tokenizer. Nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from appliance.bases.families import (
    FAMILIES,
    Shape,
    find_why_not_exportable,
    list_tensors,
)
from appliance.bases.licence import read_licence
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


def read_spec(folder: Path, name: str | None = None) -> BaseSpec:
    """Describe a base model.

    Args:
        folder: config.json, tokenizer.json and safetensors, as transformers saves them.
        name: how people call it; the folder's own name when None.

    Returns:
        Its shape, size, licence and whether it can be exported. `sha256` covers the text files and
        the weights: weight files under 64 MiB in full; of larger ones the header, the size, and
        the first and last MiB of data, which tells models apart but is no proof against tampering.

    Raises:
        BaseModelError: the folder is missing, unsafe, damaged or not a causal language model.
    """
    if not folder.is_dir():
        raise explain_missing(str(folder))
    config = _read_config(folder / "config.json")
    _refuse_code(folder, config)
    if not (folder / "tokenizer.json").is_file():
        raise BaseModelError(
            f"{folder} has no tokenizer.json",
            why="the serving engine reads tokenizers in this format alone",
            fix="save the tokenizer as a fast tokenizer (transformers: save_pretrained) beside it",
        )
    architecture = _read_architecture(folder, config)
    shape = _read_shape(folder, config)
    weights = read_weights(folder)
    _check_tensors(folder, architecture, shape, config, weights)
    why_not = find_why_not_exportable(architecture, config)
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


def explain_missing(base: str) -> BaseModelError:
    """The error for a base that is no folder; a hub name gets the hub's own remedy."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base) and not base.startswith((".", "/")):
        return BaseModelError(
            f"base model {base} is not on this machine",
            why="it looks like the name of a model on a hub, and nothing is ever downloaded",
            fix="download it elsewhere, copy its folder here, and pass "
            f"--base PATH/{base.split('/')[1]}",
        )
    return BaseModelError(
        f"base model folder {base} is not there",
        why="no folder has this name",
        fix="pass the path of a model folder, or --base embedded for the model that ships inside",
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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise BaseModelError(
            f"{path.parent} has no config.json",
            why="without it the shape of the model is unknown",
            fix="pass the folder that holds config.json, tokenizer.json and *.safetensors",
        ) from exc
    except (OSError, ValueError) as exc:
        raise BaseModelError(
            f"{path} cannot be read", why=str(exc), fix="copy the file again"
        ) from exc
    if not isinstance(config, dict):
        raise BaseModelError(
            f"{path} is not a model configuration",
            why=f"its top level is a {type(config).__name__}",
            fix="copy the file again",
        )
    return config


def _refuse_code(folder: Path, config: dict[str, Any]) -> None:
    scripts = sorted(path.name for path in folder.glob("*.py"))
    if scripts or "auto_map" in config:
        what = f"{scripts[0]} lies in it" if scripts else "config.json has an auto_map"
        raise BaseModelError(
            f"{folder} brings its own code",
            why=f"{what}; code of a model folder is never run",
            fix="use a model whose architecture is part of transformers; if this one is, "
            "delete the code and the auto_map",
        )
    if config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "unknown")
        raise BaseModelError(
            f"{folder} is quantized already",
            why=f"its weights are stored as {method}; tuning quantizes the original weights itself",
            fix="use the original model in 16 or 32 bit",
        )


def _read_architecture(folder: Path, config: dict[str, Any]) -> str:
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise BaseModelError(
            f"{folder / 'config.json'} names no architecture",
            why="the key 'architectures' is missing",
            fix='add it, such as "architectures": ["LlamaForCausalLM"]',
        )
    if not named[0].endswith("ForCausalLM"):
        raise BaseModelError(
            f"{folder} is not a causal language model",
            why=f"its architecture is {named[0]}",
            fix=f"use one of {', '.join(FAMILIES)}",
        )
    return named[0]


def _read_shape(folder: Path, config: dict[str, Any]) -> Shape:
    try:
        num_heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Shape(
            num_layers=int(config["num_hidden_layers"]),
            width=width,
            intermediate_width=int(config["intermediate_size"]),
            num_heads=num_heads,
            num_kv_heads=int(config.get("num_key_value_heads") or num_heads),
            head_width=int(config.get("head_dim") or width // num_heads),
            vocab_size=int(config["vocab_size"]),
            context=int(config.get("max_position_embeddings") or 2048),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as exc:
        raise BaseModelError(
            f"{folder / 'config.json'} does not describe a decoder like Llama",
            why=f"the key {exc} is missing",
            fix=f"use one of {', '.join(FAMILIES)}",
        ) from exc
    except (TypeError, ValueError, ZeroDivisionError) as exc:
        raise BaseModelError(
            f"{folder / 'config.json'} has a size that is no number",
            why=str(exc),
            fix="copy the file again",
        ) from exc


def _check_tensors(
    folder: Path, architecture: str, shape: Shape, config: dict[str, Any], weights: Weights
) -> None:
    """Refuse missing or misshapen tensors: loading would replace them by random numbers."""
    family = FAMILIES.get(architecture)
    if family is None:
        return
    for name, size in list_tensors(family, shape, config).items():
        found = weights.tensors.get(name)
        if found is None or found.shape != size:
            state = f"has shape {list(found.shape)}" if found else "is missing"
            raise BaseModelError(
                f"{folder} does not hold the whole model",
                why=f"tensor {name} {state}; config.json asks for {list(size)}",
                fix="copy the model folder again; config.json and weights must belong together",
            )
