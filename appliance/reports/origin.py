"""Where and from what a run is made: kept beside it, for whoever reads its report later."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from appliance import __version__
from appliance.files import write_text
from appliance.recipe import Recipe
from appliance.reports.record import Origin, Setting
from appliance.values import Hardware

ORIGIN = "origin.json"
"""Name of the file inside a run."""

PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy", "onnx",
    "onnxruntime", "onnxruntime-genai", "xberg",
)  # fmt: skip
"""Packages whose computations are in the result."""

_SECRET_KEYS = ("documents.mask_words", "documents.mask_except", "pretrain.mix", "pretrain.order")
_LOCAL_KEYS = ("pretrain.replay",)
_PRIVATE_OF_A_GPU = {"uuid", "processes", "slices"}


def keep_origin(
    run: Path, kind: str, recipe: Recipe, by_person: tuple[str, ...], hardware: Hardware
) -> None:
    """Write down where a run is made.

    Args:
        run: its folder.
        kind: which line of the pipeline.
        recipe: all decisions.
        by_person: keys that came from the command line.
        hardware: as probed.
    """
    origin = Origin(
        kind=kind,
        appliance_version=__version__,
        versions=dict(_list_versions()),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        hardware=hardware.model_dump(
            mode="json", exclude={"gpus": {"__all__": _PRIVATE_OF_A_GPU}, "findings": True}
        ),
        settings=tuple(list_settings(recipe, by_person)),
    )
    write_text(run / ORIGIN, origin.model_dump_json(indent=1) + "\n")


def read_origin(run: Path) -> Origin:
    """What was kept; an empty one where nothing was, or by another version."""
    try:
        return Origin.model_validate_json((run / ORIGIN).read_bytes())
    except (OSError, ValidationError):
        return Origin()


def list_settings(recipe: Recipe, by_person: tuple[str, ...]) -> Iterator[Setting]:
    """Every key of a recipe with its origin.

    Names and code words to be masked are the very words to keep secret, and sources are names of
    folders: they are counted. A folder of this machine is told to be set, and not where it is.
    """
    for section, name, value, default in _walk(recipe):
        key = f"{section}.{name}"
        changed = value != default
        origin = "person" if key in by_person else "recipe" if changed else "default"
        if key in _SECRET_KEYS:
            text = f"{len(value)} entries"
        elif key in _LOCAL_KEYS and value:
            text = "a folder"
        else:
            text = (str(value).lower() if isinstance(value, bool) else str(value)) or "none"
        yield Setting.model_validate({"key": key, "value": text, "origin": origin})


def _walk(recipe: Recipe) -> Iterator[tuple[str, str, Any, Any]]:
    for section in Recipe.model_fields:
        part: BaseModel = getattr(recipe, section)
        for name, field in type(part).model_fields.items():
            yield section, name, getattr(part, name), field.default


def _list_versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
