"""config.json as typed values: read with a limit, and every size in bounds.

A configuration comes from strangers: it may be huge, nested without end, or ask for a billion
layers. What leaves this file can be computed with.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from appliance.bases.families import FAMILIES, Family, Shape, read_context
from appliance.bases.parameters import ARCHITECTURES
from appliance.errors import BaseModelError
from appliance.units import MIB, format_bytes

MAX_SIZES = {
    "num_hidden_layers": 1024,
    "hidden_size": 2**18,
    "intermediate_size": 2**20,
    "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12,
    "head_dim": 2**14,
    "vocab_size": 2**24,
    "max_position_embeddings": 2**30,
}
"""Largest size that is believed; the largest open models stay ten times below."""


def read_json(path: Path, max_bytes: int = MIB) -> dict[str, Any]:
    """A JSON object from a file of limited size.

    Raises:
        BaseModelError: it is larger, no plain file, not JSON, or not an object.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, "it is not a plain file")
        if status.st_size > max_bytes:
            size, limit = format_bytes(status.st_size), format_bytes(max_bytes)
            raise _unreadable(path, f"it has {size}; more than {limit} are not read")
        body = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as exc:
        raise _unreadable(path, "it is nested too deeply") from exc
    except (OSError, ValueError) as exc:
        raise _unreadable(path, str(exc)) from exc
    if not isinstance(body, dict):
        raise BaseModelError(
            f"{path} is not a model configuration",
            why=f"its top level is a {type(body).__name__}",
            fix="copy the file again",
        )
    return body


def read_config(folder: Path) -> dict[str, Any]:
    """All of a model's config.json.

    Raises:
        BaseModelError: it is missing or cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        raise BaseModelError(
            f"{folder} has no config.json",
            why="without it the shape of the model is unknown",
            fix="pass the folder that holds config.json, tokenizer.json and *.safetensors",
        )
    return read_json(path)


def read_architecture(folder: Path, config: dict[str, Any]) -> str:
    """The class of the model, if it is one of those known here.

    Raises:
        BaseModelError: none is named, it is unknown, or model_type would load another class.
    """
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise BaseModelError(
            f"{folder / 'config.json'} names no architecture",
            why="the key 'architectures' is missing",
            fix='add it, such as "architectures": ["LlamaForCausalLM"]',
        )
    architecture, model_type = named[0], config.get("model_type")
    if not architecture.endswith("ForCausalLM"):
        raise BaseModelError(
            f"{folder} is not a causal language model",
            why=f"its architecture is {architecture[:80]!r}",
            fix=f"use one of {', '.join(FAMILIES)}",
        )
    known = ARCHITECTURES.get(architecture)
    if known is None or model_type != known.model_type:
        belongs = f", {architecture} belongs to {known.model_type!r}" if known else " is unknown"
        raise BaseModelError(
            f"{folder} has an unknown architecture",
            why=f"model_type {str(model_type)[:80]!r} with {architecture[:80]!r}{belongs}",
            fix=f"use one of {', '.join(FAMILIES)}",
        )
    return architecture


def read_shape(path: Path, config: dict[str, Any]) -> Shape:
    """Sizes of a decoder.

    Args:
        path: of the file they come from, for messages.
        config: all of config.json.

    Raises:
        BaseModelError: one is missing, no whole number, or out of bounds.
    """
    try:
        width = _read_size(config, "hidden_size")
        num_heads = _read_size(config, "num_attention_heads")
        num_kv_heads = _read_size(config, "num_key_value_heads", num_heads)
        if num_heads % num_kv_heads:
            raise ValueError(f"{num_heads} query heads cannot share {num_kv_heads} key heads")
        family = _find_family(config)
        longest = _read_size(config, "max_position_embeddings", 2048)
        return Shape(
            num_layers=_read_size(config, "num_hidden_layers"),
            width=width,
            intermediate_width=_read_size(config, "intermediate_size"),
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_width=_read_size(
                config, "head_dim", family.default_head_width or width // num_heads
            ),
            vocab_size=_read_size(config, "vocab_size"),
            context=read_context(config, longest),
            tied=bool(config.get("tie_word_embeddings", family.is_tied)),
        )
    except KeyError as exc:
        raise BaseModelError(
            f"{path} does not describe a decoder like Llama",
            why=f"the key {exc} is missing",
            fix=f"use one of {', '.join(FAMILIES)}",
        ) from exc
    except ValueError as exc:
        raise BaseModelError(
            f"{path} has a size that cannot be", why=str(exc), fix="copy the file again"
        ) from exc


def _find_family(config: dict[str, Any]) -> Family:
    named = config.get("architectures") or [""]
    return FAMILIES.get(named[0], Family())


def _read_size(config: dict[str, Any], key: str, default: int | None = None) -> int:
    """A size; a missing or null one has the default.

    Raises:
        KeyError: it is missing and has none.
        ValueError: it is not a whole number between 1 and its limit.
    """
    value = config.get(key)
    if value is None:
        if default is None:
            raise KeyError(key)
        value = default
    if type(value) is not int or not 1 <= value <= MAX_SIZES[key]:
        limit = MAX_SIZES[key]
        raise ValueError(f"{key} is {str(value)[:40]!r}, not a whole number of 1 to {limit:,}")
    return value


def _unreadable(path: Path, why: str) -> BaseModelError:
    return BaseModelError(f"{path} cannot be read", why=why, fix="copy the file again")
