"""Recipes: what a person may decide. Everything left at `auto` is decided by the planner.

A recipe is a YAML file with the sections below; `--set section.key=value` changes one key.
All faults of a recipe are reported at once, each with the nearest key that exists.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.errors import RecipeError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DocumentsRecipe(_Section):
    """How documents are read."""

    max_file_mebibytes: int = Field(64, ge=1, description="Larger files are skipped, and said.")
    seconds_per_file: float = Field(30.0, gt=0, description="Time limit of a converter.")
    mask_secrets: bool = Field(True, description="Replace keys, passwords and account numbers.")


class DatasetRecipe(_Section):
    """How examples are made."""

    passage_tokens: int = Field(384, ge=32, description="Tokens of a passage at most.")
    valid_share: float = Field(0.1, gt=0, lt=0.4, description="Documents kept for choices.")
    test_share: float = Field(0.15, gt=0, lt=0.4, description="Documents kept for the verdict.")
    pairs: Literal["auto", "none", "headings"] = Field(
        "auto",
        description="Questions and answers from structure: auto, none, or one for every heading.",
    )
    seed: int = Field(20261123, description="Order and split.")


class TuneRecipe(_Section):
    """How the model is trained."""

    method: Literal["auto", "qlora", "lora", "adapter", "full"] = Field(
        "auto", description="auto: the planner's ladder."
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank of the low-rank update.")
    head: Literal["auto", "yes", "no"] = Field(
        "auto", description="Low-rank update of the head too; auto: when it is small."
    )
    lr: float | Literal["auto"] = Field("auto", description="auto: by a probe on held-out text.")
    epochs: int | Literal["auto"] = Field("auto", description="auto: more text, fewer epochs.")
    sequence_length: int | Literal["auto"] = Field("auto", description="Tokens of a pack.")
    threads: int | Literal["auto"] = Field("auto", description="Processor cores.")
    checkpoint_seconds: float = Field(
        30.0, gt=0, description="Time between checkpoints: what a power cut may cost."
    )
    seed: int = Field(20261123, description="Initial weights and order.")


class EvaluateRecipe(_Section):
    """How the result is judged."""

    max_tokens: int = Field(60_000, ge=256, description="Tokens of the test split scored at most.")
    num_questions: int = Field(12, ge=0, description="Held-out questions answered.")
    require_improvement: bool = Field(True, description="No bundle unless the held-out loss fell.")
    answer_tokens: int = Field(48, ge=1, description="Tokens of an answer at most.")


class ExportRecipe(_Section):
    """How the model is exported."""

    precision: Literal["auto", "int4", "int4-mixed", "int8", "fp32"] = Field(
        "auto", description="auto: the smallest that keeps the gain."
    )
    min_gain_kept: float = Field(0.95, ge=0, le=1, description="Gate on the shipped model.")
    parity_tokens: int = Field(4_000, ge=256, description="Tokens compared at most.")


class Recipe(_Section):
    """All decisions of a job."""

    documents: DocumentsRecipe = DocumentsRecipe()
    dataset: DatasetRecipe = DatasetRecipe()
    tune: TuneRecipe = TuneRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    export: ExportRecipe = ExportRecipe()


def load_recipe(path: Path | None, settings: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `--set section.key=value` on top.

    Raises:
        RecipeError: the file is missing or not YAML, or keys or values are wrong (all of them).
    """
    tree = _read_yaml(path) if path else {}
    for setting in settings:
        _apply_setting(tree, setting)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as exc:
        faults = [_describe_fault(error) for error in exc.errors()]
        source = str(path) if path else "--set"
        raise RecipeError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the recipe ({source})",
            why="; ".join(faults),
            fix="see docs/reference/recipe.md for every key and its values",
        ) from exc


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise RecipeError(
            f"recipe {path} is not there",
            why="no file has this name",
            fix="name an existing file; shipped recipes lie in recipes/",
        ) from exc
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        reason = str(exc).splitlines()[0]
        raise RecipeError(
            f"recipe {path} cannot be read", why=reason, fix="write it as YAML text"
        ) from exc
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise RecipeError(
            f"recipe {path} is not a mapping",
            why=f"its top level is a {type(tree).__name__}",
            fix="start with a section, such as 'tune:'",
        )
    return tree


def _apply_setting(tree: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not name:
        raise RecipeError(
            f"--set {setting} is not understood",
            why="it must read section.key=value",
            fix="for example --set tune.rank=8",
        )
    branch = tree.setdefault(section, {})
    if not isinstance(branch, dict):
        raise RecipeError(
            f"section '{section}' of the recipe is not a mapping",
            why=f"it is a {type(branch).__name__}",
            fix=f"write keys below '{section}:'",
        )
    branch[name] = _read_scalar(text)


def _read_scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text: a number was meant
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _describe_fault(error: Any) -> str:
    where = [
        str(part) for part in error["loc"] if not str(part).startswith(("literal[", "float", "int"))
    ]
    name = ".".join(where)
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg'].lower()} (got {error['input']!r})"
    known = sorted(Recipe.model_fields)
    if len(where) > 1 and where[0] in Recipe.model_fields:
        known = sorted(getattr(Recipe(), where[0]).__class__.model_fields)
    near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.3)
    hint = f", did you mean {'.'.join([*where[:-1], near[0]])}" if near else ""
    return f"unknown key {name}{hint}"
