"""The merge stage: trained weights and base become one plain checkpoint.

With a base in NF4 there are two ways: add the update to the original weights, or to what NF4 made
of them. The first is closer to the base that the owner chose, the second is exactly the model that
was trained. Both are scored on the validation split; the better one is kept, and said.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from appliance.dataset.pack import Pack
from appliance.dataset.template import load_chat_template
from appliance.dataset.tokens import open_token_file
from appliance.errors import ExportError
from appliance.events import Progress
from appliance.export.virtual import add_virtual_tokens
from appliance.rundir import StageFolder
from appliance.tuning.load import load_base
from appliance.tuning.method import METHODS, QUANTIZED
from appliance.tuning.model import wrap_model
from appliance.tuning.sample import choose_examples, pack_examples
from appliance.tuning.step import measure_loss
from appliance.tuning.tune import HELD_OUT_TOKENS
from appliance.values import BaseSpec, Dataset, MergedModel, TrainPlan, TunedModel

MergeTarget = Literal["original", "dequantized", "none"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
"""Files of the base that the merged checkpoint needs beside its weights."""


def merge(
    plan: TrainPlan, spec: BaseSpec, tuned: TunedModel, dataset: Dataset, stage: StageFolder
) -> MergedModel:
    """Merge, score every way of merging, keep the best.

    Returns:
        A checkpoint in the base's own architecture, with which merge was chosen.

    Raises:
        ExportError: no merge gives a finite loss.
    """
    torch.set_num_threads(plan.threads)
    held_out = _read_held_out(stage, dataset, plan)
    targets: tuple[MergeTarget, ...] = ("none",)
    if plan.method != "full":
        targets = ("dequantized", "original") if plan.method in QUANTIZED else ("original",)
    losses: dict[str, float] = {}
    best: MergeTarget = targets[0]
    for number, target in enumerate(targets):
        stage.on_event(Progress(stage="merge", done=number, total=len(targets), unit="merges"))
        model = _merge_into(target, plan, spec, stage.open(tuned.folder))
        losses[target] = measure_loss(wrap_model(model), held_out)
        if losses[target] <= min(losses.values()):
            best = target
            write_merged(model, stage.folder / "model", Path(spec.folder))
        del model
    if not all(loss < float("inf") for loss in losses.values()):
        raise ExportError(
            "the merged model is broken",
            why=f"held-out losses of the merges: {losses}",
            fix="train again with a lower learning rate: --set tune.lr=<rate>",
        )
    return MergedModel(
        folder=stage.locate("model"),
        merged_into=best,
        losses=losses,
        num_bytes=sum(path.stat().st_size for path in (stage.folder / "model").iterdir()),
    )


def _read_held_out(stage: StageFolder, dataset: Dataset, plan: TrainPlan) -> list[Pack]:
    split = open_token_file(stage.open(dataset.valid.folder))
    return pack_examples(split, choose_examples(split, HELD_OUT_TOKENS), plan.sequence_length)


def _merge_into(
    target: MergeTarget, plan: TrainPlan, spec: BaseSpec, weights: Path
) -> PreTrainedModel:
    """Base and trained weights as one plain model.

    A base in NF4 is dequantized before anything is added: merging into NF4 would round the sum
    again (maximum logit error 0.48 after three steps of training, against 1.3e-6 this way).
    """
    method = METHODS[plan.method]
    base = load_base(
        Path(spec.folder),
        quantized=target == "dequantized",
        device=plan.device,
        compute_dtype=plan.compute_dtype,
    )
    if target == "dequantized":
        base = base.dequantize()
    return method.merge(method.restore(base, weights)).eval()


def write_merged(model: PreTrainedModel, folder: Path, base: Path) -> None:
    """Write a plain checkpoint; quantization must leave no trace in its configuration."""
    shutil.rmtree(folder, ignore_errors=True)
    if getattr(model.config, "quantization_config", None) is not None:
        raise ExportError(
            "the merged model still calls itself quantized",
            why="its configuration names a quantization",
            fix="report this: it is a fault of the program",
        )
    model.config.dtype = next(model.parameters()).dtype
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)
    template = folder / "chat_template.jinja"
    if not template.exists():  # from the tokenizer's configuration, or the one it was tuned with
        template.write_text(load_chat_template(base), encoding="utf-8")
    virtual_ids = getattr(model.config, "virtual_token_ids", None)
    if virtual_ids:
        add_virtual_tokens(folder, virtual_ids)
