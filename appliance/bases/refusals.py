"""What a model folder must not hold: code, links that lead out, pickles instead of weights, floods.

The same checks stand before every use and at the end of every import: a folder may have changed
since, and one that was never imported is checked as well. Formats are the boundary; nothing is
scanned for badness.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.bases.config import read_json
from appliance.errors import BaseModelError
from appliance.units import MIB, format_bytes

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Suffixes of files that can run any program when they are opened."""

MAX_TEMPLATE_CHARACTERS = 128 * 1024
"""Of a chat template; the longest of a well-known model has 16 thousand."""

MAX_TEXT_BYTES = {
    "config.json": MIB,
    "generation_config.json": MIB,
    "special_tokens_map.json": MIB,
    "added_tokens.json": 4 * MIB,
    "tokenizer_config.json": 16 * MIB,
    "tokenizer.json": 64 * MIB,
    "vocab.json": 32 * MIB,
    "merges.txt": 32 * MIB,
    "chat_template.jinja": MIB // 8,
    "README.md": 4 * MIB,
    "LICENSE": 4 * MIB,
    "LICENSE.txt": 4 * MIB,
    "LICENSE.md": 4 * MIB,
    "NOTICE": 4 * MIB,
    "USE_POLICY.md": 4 * MIB,
}
"""Files beside the weights that belong to a model, and the largest size of each that is read."""

_CODE_KEYS = ("auto_map", "trust_remote_code")
_CODE_PREFIX = "custom_"


def refuse_unsafe(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a folder that brings code, or files beyond any reasonable size.

    Args:
        folder: of the model.
        config: all of its config.json.

    Raises:
        BaseModelError: with the first reason found.
    """
    scripts = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    if scripts:
        raise _brings_code(folder, f"{scripts[0]!r} lies in it")
    refuse_code_keys(folder, "config.json", config)
    for name in ("tokenizer_config.json", "generation_config.json"):
        if (folder / name).exists():
            body = read_json(folder / name, MAX_TEXT_BYTES[name])
            refuse_code_keys(folder, name, body)
            _refuse_template(folder / name, body.get("chat_template"))
    for name, limit in MAX_TEXT_BYTES.items():
        path = folder / name
        if path.exists() and path.stat().st_size > limit:
            raise _too_large(path, path.stat().st_size, limit)
    _refuse_quantized(folder, config)


def refuse_links(folder: Path, inside: Path) -> None:
    """Refuse links that lead out, and files that are none, such as pipes.

    Raises:
        BaseModelError: naming the first.
    """
    root = inside.resolve()
    for path in sorted(folder.iterdir()):
        target = path.resolve()
        if path.is_symlink() and not target.is_relative_to(root):
            raise BaseModelError(
                f"{path} is a link that leads out of the model's folder",
                why="what it points to could be changed, or be private",
                fix=f"copy the folder with the files themselves: cp -rL {folder} COPY",
            )
        if target.exists() and not stat.S_ISREG(mode := target.stat().st_mode):
            if stat.S_ISDIR(mode):
                continue
            raise BaseModelError(
                f"{path} is not a plain file",
                why="a device, pipe or socket has no place in a model's folder",
                fix="remove it, or copy the folder again from where it was made",
            )


def refuse_code_keys(folder: Path, name: str, body: dict[str, Any]) -> None:
    """Refuse keys, at any depth, by which a library would load code from the folder.

    Raises:
        BaseModelError: naming the key.
    """
    for key in _walk_keys(body):
        if key in _CODE_KEYS or key.startswith(_CODE_PREFIX):
            raise _brings_code(folder, f"{name} has the key {key[:80]!r}")


def is_pickle(name: str) -> bool:
    """Whether a file of this name would be read with pickle."""
    return name.lower().endswith(PICKLES)


def _walk_keys(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _refuse_template(path: Path, template: Any) -> None:
    length = len(str(template)) if template is not None else 0
    if length > MAX_TEMPLATE_CHARACTERS:
        raise BaseModelError(
            f"the chat template in {path} is too large",
            why=f"it has {length:,} characters, {MAX_TEMPLATE_CHARACTERS:,} are allowed; it is "
            "rendered for every answer",
            fix="copy the model again from where it was published",
        )


def _refuse_quantized(folder: Path, config: dict[str, Any]) -> None:
    stored = config.get("quantization_config")
    if not stored:
        return
    method = stored.get("quant_method", "unknown") if isinstance(stored, dict) else "unknown"
    raise BaseModelError(
        f"{folder} is quantized already",
        why=f"its weights are stored as {str(method)[:40]}; tuning quantizes the original weights "
        "itself",
        fix="use the original model in 16 or 32 bit",
    )


def _brings_code(folder: Path, what: str) -> BaseModelError:
    return BaseModelError(
        f"{folder} brings its own code",
        why=f"{what}; code of a model folder is never run",
        fix="use a model whose architecture is part of transformers; if this one is, "
        "delete the code and the key that names it",
    )


def _too_large(path: Path, size: int, limit: int) -> BaseModelError:
    return BaseModelError(
        f"{path} is too large",
        why=f"it has {format_bytes(size)}; a file of this name has {format_bytes(limit)} at most",
        fix="copy the model again from where it was published",
    )
