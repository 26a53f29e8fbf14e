"""Reading a recipe: a YAML file, then `--set section.key=value` on top.

All faults of a recipe are reported at once, each with the nearest key that exists.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from appliance.errors import RecipeError
from appliance.recipe.library import find_recipe, list_recipes
from appliance.recipe.sections import Recipe


def load_recipe(path: Path | None, settings: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `--set section.key=value` on top.

    Args:
        path: a file, or the name of a recipe that ships.
        settings: as "tune.rank=8".

    Raises:
        RecipeError: the file is missing or not YAML, or keys or values are wrong (all of them).
    """
    path = path and find_file(path)
    tree = read_yaml(path) if path else {}
    if path:
        _read_words(tree, path.parent, within=True)
    for setting in settings:
        _apply_setting(tree, setting)
    _read_words(tree, Path())
    return make_recipe(tree, str(path) if path else "--set")


def make_recipe(tree: dict[str, Any], source: str) -> Recipe:
    """A recipe from its sections and keys.

    Args:
        tree: as it was read.
        source: where it was read, for people.

    Raises:
        RecipeError: keys or values are wrong (all of them).
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as exc:
        faults = _list_faults(exc)
        raise RecipeError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the recipe ({source})",
            why="; ".join(faults),
            fix="see docs/reference/recipe.md for every key and its values",
        ) from exc


def find_file(named: Path) -> Path:
    """The file of a recipe: one that lies there, or one that ships under this name.

    Raises:
        RecipeError: there is neither.
    """
    if named.exists() and not (named.is_dir() and find_recipe(named.as_posix())):
        return named
    shipped = find_recipe(named.as_posix())
    if shipped:
        return shipped.path
    names = [recipe.name for recipe in list_recipes()]
    near = difflib.get_close_matches(named.stem, names, n=1)
    raise RecipeError(
        f"recipe {named} is not there",
        why="no file and no recipe that ships has this name",
        fix=f"did you mean --recipe {near[0]}?" if near else "appliance recipes list names those",
    )


def list_keys(settings: tuple[str, ...], base: str | None) -> tuple[str, ...]:
    """Keys that a person set on the command line, such as "tune.rank"; "base" stands for --base."""
    keys = tuple(setting.partition("=")[0].strip() for setting in settings)
    return (*keys, "base") if base else keys


_REPLACED = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of a scalar: `yes` and `no` are words, `1e-4` is a number."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, expression) for tag, expression in resolvers if tag not in _REPLACED]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """A file with one mapping.

    Raises:
        RecipeError: it is missing, not YAML, or something else.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
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


def _read_words(tree: dict[str, Any], folder: Path, *, within: bool = False) -> None:
    """Put the lines of the file that `documents.mask_words` names in its place.

    The list is part of the recipe, so that another list is another run. A recipe may come from
    somebody else, such as with a drop: it can only name a file in its own folder.
    """
    section = tree.get("documents")
    name = section.get("mask_words") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(name, str):
        return
    path = (folder / name).resolve()
    fix = "name a text file with one name or code word a line, or write a list"
    if within and not path.is_relative_to(folder.resolve()):
        raise RecipeError(
            f"documents.mask_words cannot be read from {name}",
            why="a recipe may only name a file in its own folder",
            fix="put the file beside the recipe, or use --set documents.mask_words=FILE",
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise RecipeError(
            f"documents.mask_words cannot be read from {name}", why=str(reason), fix=fix
        ) from exc
    section["mask_words"] = [line.strip() for line in lines if line.strip()]


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
    try:
        branch[name] = yaml.load(text, _Loader)
    except yaml.YAMLError as exc:
        raise RecipeError(
            f"--set {setting} is not understood",
            why="its value is not valid YAML",
            fix="quote it, or write it into a recipe file",
        ) from exc


def _list_faults(exc: ValidationError) -> list[str]:
    """One line a key: a value that fits none of several types is one fault."""
    by_key: dict[tuple[str, ...], list[Any]] = {}
    for error in exc.errors():
        key = tuple(str(part) for part in error["loc"][:2])  # beyond: which type was tried
        by_key.setdefault(key, []).append(error)
    return [_describe_fault(key, errors) for key, errors in by_key.items()]


def _describe_fault(key: tuple[str, ...], errors: list[Any]) -> str:
    name = ".".join(key)
    if errors[0]["type"] != "extra_forbidden":
        reasons = " or ".join(dict.fromkeys(error["msg"].lower() for error in errors))
        return f"{name}: {reasons} (got {errors[0]['input']!r})"
    known = sorted(Recipe.model_fields)
    if len(key) > 1:
        known = sorted(getattr(Recipe(), key[0]).__class__.model_fields)
    near = difflib.get_close_matches(key[-1], known, n=1, cutoff=0.3)
    hint = f", did you mean {'.'.join([*key[:-1], near[0]])}" if near else ""
    return f"unknown key {name}{hint}"
