"""Recipes of LLaMA-Factory and Axolotl: what means the same here is taken, the rest is told.

A key is taken only where both programs do the same with its value. A learning rate of a low-rank
update is not: it belongs to the scale of that update, which is another one here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from appliance.errors import RecipeError
from appliance.recipe.load import read_yaml

Program = Literal["LLaMA-Factory", "Axolotl"]

_SAME = {
    "lora_rank": "rank",
    "lora_r": "rank",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "cutoff_len": "sequence_length",
    "sequence_len": "sequence_length",
    "seed": "seed",
    "neftune_noise_alpha": "embedding_noise",
    "loraplus_lr_ratio": "lora_b_rate",
}
"""Their keys, and the key of the section `tune` or `pretrain` that means the same."""

_METHOD_KEYS = frozenset(
    {"stage", "finetuning_type", "quantization_bit", "adapter", "load_in_4bit", "load_in_8bit"}
)

_BASE_KEYS = ("model_name_or_path", "base_model")

_LEFT = {
    "documents are named on the command line": (
        *("dataset", "dataset_dir", "datasets", "pretraining_dataset", "eval_dataset"),
        *("test_datasets", "dataset_prepared_path", "max_samples", "output_dir"),
    ),
    "decided by the planner, from the machine": (
        *("per_device_train_batch_size", "micro_batch_size", "gradient_accumulation_steps"),
        *("gradient_checkpointing", "bf16", "fp16", "tf32", "flash_attn", "flash_attention"),
        *("deepspeed", "fsdp", "fsdp_config", "sample_packing", "packing", "pad_to_sequence_len"),
        *("group_by_length", "optim", "optimizer", "preprocessing_num_workers"),
    ),
    "the scale of the update is the same at every rank here": ("lora_alpha", "use_rslora"),
    "every linear layer is trained here": (
        *("lora_target", "lora_target_modules", "lora_target_linear", "lora_dropout"),
    ),
    "whole documents are kept apart here, by dataset.valid_share and dataset.test_share": (
        *("val_size", "val_set_size"),
    ),
    "the base's own template is used": ("template", "chat_template"),
    "nothing is sent anywhere": (
        *("report_to", "wandb_project", "wandb_entity", "wandb_name", "mlflow_experiment_name"),
        *("hub_model_id", "hub_strategy", "push_to_hub"),
    ),
    "the schedule is the same for all trainings here": (
        *("lr_scheduler_type", "lr_scheduler", "warmup_ratio", "warmup_steps", "weight_decay"),
        *("max_grad_norm", "cosine_min_lr_ratio"),
    ),
    "checkpoints, curves and evaluation come by themselves here": (
        *("do_train", "do_eval", "eval_strategy", "eval_steps", "evals_per_epoch"),
        *("per_device_eval_batch_size", "save_strategy", "save_steps", "saves_per_epoch"),
        *("logging_steps", "plot_loss", "resume_from_checkpoint", "overwrite_output_dir"),
    ),
    "code that comes with a model is not run": ("trust_remote_code",),
}
_WHY_LEFT = {key: why for why, keys in _LEFT.items() for key in keys}

_UNKNOWN = "nothing here means the same"


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignRecipe:
    """What a recipe of another program says here.

    Attributes:
        program: whose it is.
        base: name or folder of the base; "" if none is named.
        verb: what runs it.
        tree: the recipe, as sections and keys.
        taken: their key and ours.
        left: their key, and why it says nothing here.
    """

    program: Program
    base: str
    verb: Literal["tune", "pretrain"]
    tree: dict[str, dict[str, Any]]
    taken: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str], ...]


def read_foreign(path: Path) -> ForeignRecipe:
    """Read a recipe of LLaMA-Factory or Axolotl.

    Raises:
        RecipeError: it cannot be read, is of neither, or is for another kind of training.
    """
    keys = read_yaml(path)
    program = _tell_program(path, keys)
    verb = _tell_verb(path, keys)
    method, method_left = _tell_method(keys, program)
    section: dict[str, Any] = {"method": method} if method else {}
    method_keys = [key for key in keys if key in _METHOD_KEYS and keys[key] is not None]
    taken = [(key, f"{verb}.method") for key in method_keys if key not in method_left]
    left = list(method_left.items())
    for key, value in keys.items():
        if key in _METHOD_KEYS or key in _BASE_KEYS or value is None:
            continue
        name = "lr" if key == "learning_rate" and method == "full" else _SAME.get(key)
        why = _why_not(key, value, name)
        if name is None or why:
            left.append((key, why))
        else:
            section[name] = _convert(name, value)
            taken.append((key, f"{verb}.{name}"))
    return ForeignRecipe(
        program=program,
        base=next((str(keys[key]) for key in _BASE_KEYS if keys.get(key)), ""),
        verb=verb,
        tree={verb: section} if section else {},
        taken=tuple(taken),
        left=tuple(left),
    )


def _tell_program(path: Path, keys: dict[str, Any]) -> Program:
    if "base_model" in keys:
        return "Axolotl"
    if "model_name_or_path" in keys and ("finetuning_type" in keys or "stage" in keys):
        return "LLaMA-Factory"
    raise RecipeError(
        f"{path} is no recipe of LLaMA-Factory or Axolotl",
        why="it names neither base_model, nor model_name_or_path with finetuning_type",
        fix="write one: appliance recipes new my.yaml",
    )


def _tell_verb(path: Path, keys: dict[str, Any]) -> Literal["tune", "pretrain"]:
    stage, preference = keys.get("stage", "sft"), keys.get("rl")
    if stage not in ("sft", "pt") or preference:
        raise RecipeError(
            f"{path} is for {preference or stage}, which is not done here",
            why="models are tuned on documents and answers, not on preferences",
            fix="import a recipe for sft or pt",
        )
    datasets = keys.get("datasets")
    kinds = {row.get("type") for row in datasets or () if isinstance(row, dict)}
    is_plain = stage == "pt" or "pretraining_dataset" in keys or kinds == {"completion"}
    return "pretrain" if is_plain else "tune"


def _tell_method(keys: dict[str, Any], program: Program) -> tuple[str, dict[str, str]]:
    """The method, and the keys about it that say nothing here."""
    if program == "LLaMA-Factory":
        kind, bits = keys.get("finetuning_type", "lora"), keys.get("quantization_bit")
        bits_key, kind_key = "quantization_bit", "finetuning_type"
    else:
        kind = keys.get("adapter") or "full"
        bits = 4 if keys.get("load_in_4bit") else 8 if keys.get("load_in_8bit") else None
        bits_key, kind_key = "load_in_8bit", "adapter"
    left = {}
    if program == "Axolotl" and keys.get("load_in_8bit") is False:
        left["load_in_8bit"] = "it is off"
    if bits not in (None, 4):
        left[bits_key] = f"{bits} bits are not trained on here; the planner chooses 4 or 16"
        return "", left
    if kind == "qlora" or (kind == "lora" and bits == 4):
        return "qlora", left
    if kind in ("lora", "full"):
        return str(kind), left
    return "", left | {kind_key: _UNKNOWN}


def _why_not(key: str, value: Any, name: str | None) -> str:
    """Why a key says nothing here; "" if it does."""
    if key == "learning_rate" and name is None:
        return "it belongs to the scale of the update, which is another one here; tried out instead"
    if name is None:
        return _WHY_LEFT.get(key, _UNKNOWN)
    if isinstance(value, bool) or not _is_number(value):
        return "it is no number"
    if name == "epochs" and (float(value) % 1 or float(value) < 1):
        return "only whole epochs are trained here"
    return ""


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _convert(name: str, value: Any) -> int | float:
    is_real = name in ("lr", "embedding_noise", "lora_b_rate")
    return float(value) if is_real else int(float(value))
