"""Recipes: what a person may decide. Everything left at `auto` is decided by the planner.

A recipe is a YAML file with the sections below; `--set section.key=value` changes one key.
All faults of a recipe are reported at once, each with the nearest key that exists.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.errors import RecipeError

Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
PackTokens = Annotated[int, Field(ge=32)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Rule = Annotated[
    str,
    Field(
        pattern=r"^(json:.*|sections:.*\w.*|language: *(de|en|es|fr|it)|(use|avoid):.*\w.*"
        r"|words: *\d{1,5})$"
    ),
]
"""What `evaluation/rules.py` can check of an answer."""

Kind = Literal["asked", "steps", "headings", "definitions", "rows", "cloze"]
Kinds = Annotated[tuple[Kind, ...], Field(strict=False)]
Words = Annotated[tuple[str, ...], Field(strict=False)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hashes = Annotated[tuple[Hash, ...], Field(strict=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DocumentsRecipe(_Section):
    """How documents are read."""

    max_file_mebibytes: int = Field(64, ge=1, description="Larger files are skipped, and said.")
    seconds_per_file: float = Field(30.0, gt=0, description="Time limit of a converter.")
    mask_secrets: bool = Field(
        True, description="Replace keys, passwords, and numbers of accounts, cards and identities."
    )
    mask_contacts: bool = Field(
        True, description="Replace e-mail and IP addresses and telephone numbers."
    )
    mask_words: Words = Field((), description="Names and code words to replace, or a file of them.")
    mask_except: Words = Field((), description="What stays: `*@example.com`, or a kind, as `ip`.")
    without: Hashes = Field(
        (), description="Files that must not be used, by sha256; `tune --without FILE` adds one."
    )
    boilerplate: Literal["drop", "keep"] = Field(
        "drop", description="Headers, footers and navigation that many files repeat."
    )
    near_duplicates: Literal["drop", "keep"] = Field(
        "drop", description="Of documents that nearly repeat another, keep one, or all."
    )
    cache_mebibytes: int = Field(
        1024, ge=0, description="Converted text kept in the run, to read only changed files; 0: no."
    )


class DatasetRecipe(_Section):
    """How examples are made."""

    passage_tokens: int = Field(384, ge=32, description="Tokens of a passage at most.")
    valid_share: float = Field(0.1, gt=0, lt=0.4, description="Documents kept for choices.")
    test_share: float = Field(0.15, gt=0, lt=0.4, description="Documents kept for the verdict.")
    pairs: Literal["auto", "none", "headings"] = Field(
        "auto",
        description="Questions and answers from structure: auto, none, or one for every heading.",
    )
    canaries: int = Field(
        0,
        ge=0,
        le=64,
        description="Sentences with a made-up code planted in the training text, to measure how "
        "well the model learns by heart what it reads; they stay in it.",
    )
    kinds: Kinds = Field(
        ("asked", "steps", "headings", "definitions", "rows"),
        description="What pairs are made from: asked, steps, headings, definitions, rows, cloze.",
    )
    pairs_by_base: Literal["no", "yes"] = Field(
        "no",
        description="yes: the base, an instruct model, writes pairs too; those that the text bears "
        "out are kept.",
    )
    system: str = Field("", description="Instruction before every made pair, for role and tone.")
    refusal_share: float = Field(
        0.0, ge=0, le=0.5, description="Part of the pairs that no document answers."
    )
    refusal: str = Field(
        "The documents do not say that.", min_length=1, description="The answer to those."
    )
    seed: int = Field(20261123, description="Order and split.")


class TuneRecipe(_Section):
    """How the model is trained."""

    method: Literal["auto", "qlora", "lora", "adapter", "full", "prompt"] = Field(
        "auto", description="auto: the planner's ladder."
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank of the low-rank update.")
    virtual_tokens: int = Field(
        16, ge=1, le=256, description="Prompt tuning: learned tokens before every text."
    )
    head: Literal["auto", "yes", "no"] = Field(
        "auto", description="Low-rank update of the head too; auto: when it is small."
    )
    lr: Rate | Literal["auto"] = Field("auto", description="auto: by a probe on held-out text.")
    lora_b_rate: float = Field(
        1.0,
        ge=1,
        le=64,
        description="Low-rank updates: learning rate of B, times that of A (LoRA+).",
    )
    embedding_noise: float = Field(
        0.0, ge=0, le=50, description="Noise on embeddings while learning (NEFTune); 5 is usual."
    )
    epochs: Count | Literal["auto"] = Field("auto", description="auto: more text, fewer epochs.")
    sequence_length: PackTokens | Literal["auto"] = Field("auto", description="Tokens of a pack.")
    threads: Count | Literal["auto"] = Field("auto", description="Processor cores.")
    cache_hidden_states: Literal["auto", "off", "memory", "disk"] = Field(
        "auto",
        description="Adapter tuning: run the frozen layers once per pack, and keep what they give; "
        "auto: from two epochs on, where it fits.",
    )
    max_forgetting: float = Field(
        0.25,
        ge=0,
        description="Rise of the loss on general text that is too much: well below it, general "
        "text is read again; beyond it, the learning rate falls.",
    )
    checkpoint_seconds: float = Field(
        30.0, gt=0, description="Time between checkpoints: what a power cut may cost."
    )
    seed: int = Field(20261123, description="Initial weights and order.")

    @property
    def tries_rates(self) -> bool:
        """Whether learning rates are tried on held-out text before training."""
        return self.lr == "auto"


class PretrainRecipe(TuneRecipe):
    """How a base reads plain text before anything else (`appliance pretrain`)."""

    lr: Rate | Literal["auto"] = Field("auto", description="auto: one that forgets little.")
    rank: int = Field(64, ge=1, le=1024, description="Rank of the low-rank update.")
    embeddings: Literal["auto", "yes", "no"] = Field(
        "auto", description="Train embeddings and head whole; auto: when there is memory for it."
    )
    embedding_rate: float = Field(
        0.5, gt=0, le=1, description="Their learning rate, as a share of the others'."
    )
    replay_share: float = Field(
        0.03, ge=0, le=0.5, description="Part of what is read that is general text."
    )
    replay: str = Field(
        "", description="Folder of general text to read again; empty: the sample that ships."
    )
    max_forgetting: float = Field(
        0.02,
        ge=0,
        description="Rise of the loss on general text that is too much: well below it, more of it "
        "is read again; beyond it, the learning rate falls.",
    )
    num_terms: int = Field(
        300, ge=0, description="Rare words of the domain that are asked for, in held-out text."
    )
    then: Literal["nothing", "tune"] = Field(
        "nothing", description="tune: go on as `appliance tune`, on the model that came out."
    )

    @property
    def tries_rates(self) -> bool:
        """Never: a trial sees what a rate gains, not what it makes the model forget."""
        return False


class EvaluateRecipe(_Section):
    """How the result is judged."""

    max_tokens: int = Field(60_000, ge=256, description="Tokens of the test split scored at most.")
    num_questions: int = Field(
        8, ge=0, description="Held-out questions answered in words, at most."
    )
    num_choices: int = Field(
        24, ge=0, le=128, description="Held-out questions answered by choice, in each way."
    )
    questions_share: float = Field(
        0.1, ge=0, description="What choosing may cost, as a share of the training's work."
    )
    rules: tuple[Rule, ...] = Field(
        (), strict=False, description="Of form, as `words: 80`: see docs/guides/assessing.md."
    )
    require_improvement: bool = Field(True, description="No bundle unless the held-out loss fell.")
    answer_tokens: int = Field(40, ge=1, description="Tokens of an answer at most.")


class AuditRecipe(_Section):
    """What the weights may give away. Where more is found, a verdict is marked."""

    max_tokens: int = Field(
        8_000, ge=256, description="Tokens of trained and of held-out text looked at, each."
    )
    max_membership: float = Field(
        0.98, ge=0.5, le=1, description="Trained documents told from others, 0.5: by chance (AUC)."
    )
    max_recall: int = Field(
        16, ge=0, description="Tokens in a row of a training text that come out word for word."
    )
    num_places: int = Field(
        32, ge=0, description="Places before a private value at which the model is let go on."
    )
    max_secrets: int = Field(0, ge=0, description="Private values that come out in the clear.")
    max_exposure: float = Field(
        8.0, ge=0, description="Bits by which a planted code ranks above chance (dataset.canaries)."
    )


class AssessRecipe(_Section):
    """How `appliance assess` tries things out."""

    trial_tokens: int = Field(
        100_000, ge=1_000, description="Training tokens that the trial tune reads at most."
    )
    num_questions: int = Field(
        128, ge=1, le=128, description="Held-out questions answered by choice, in each way."
    )


class ExportRecipe(_Section):
    """How the model is exported."""

    precision: Literal["auto", "int4", "int4-mixed", "int8", "fp32"] = Field(
        "auto", description="auto: the smallest that keeps the gain."
    )
    min_gain_kept: float = Field(
        0.98, ge=0, le=1, description="Share of the gain that the shipped model has to keep."
    )
    parity_tokens: int = Field(3_000, ge=256, description="Tokens compared at most.")


class BundleRecipe(_Section):
    """What a bundle carries beside the model."""

    search: Literal["no", "yes"] = Field(
        "no", description="yes: a search index, which holds the text of the documents."
    )


class BudgetRecipe(_Section):
    """What a job may cost at most: nothing that costs more is planned."""

    memory_gibibytes: Amount | Literal["auto"] = Field(
        "auto", description="Of the device that trains; auto: what is free."
    )
    disk_gibibytes: Amount | Literal["auto"] = Field(
        "auto", description="Of the run; auto: what is free."
    )
    hours: Amount | Literal["auto"] = Field(
        "auto", description="Of training; auto: a night, and only to choose between bases."
    )


class Recipe(_Section):
    """All decisions of a job."""

    documents: DocumentsRecipe = DocumentsRecipe()
    dataset: DatasetRecipe = DatasetRecipe()
    pretrain: PretrainRecipe = PretrainRecipe()
    tune: TuneRecipe = TuneRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    audit: AuditRecipe = AuditRecipe()
    assess: AssessRecipe = AssessRecipe()
    export: ExportRecipe = ExportRecipe()
    bundle: BundleRecipe = BundleRecipe()
    budget: BudgetRecipe = BudgetRecipe()


def load_recipe(path: Path | None, settings: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `--set section.key=value` on top.

    Raises:
        RecipeError: the file is missing or not YAML, or keys or values are wrong (all of them).
    """
    tree = _read_yaml(path) if path else {}
    if path:
        _read_words(tree, path.parent, within=True)
    for setting in settings:
        _apply_setting(tree, setting)
    _read_words(tree, Path())
    try:
        return Recipe.model_validate(tree)
    except ValidationError as exc:
        faults = _list_faults(exc)
        source = str(path) if path else "--set"
        raise RecipeError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the recipe ({source})",
            why="; ".join(faults),
            fix="see docs/reference/recipe.md for every key and its values",
        ) from exc


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


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
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
