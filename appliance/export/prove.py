"""The parity stage: load the models of the ladder, compare them, and pick what ships."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from appliance.dataset.pack import Pack, build_pack
from appliance.dataset.tokens import open_token_file
from appliance.events import Progress
from appliance.export.onnx import export_onnx
from appliance.export.parity import check_parity, list_precisions
from appliance.export.scorers import TorchScorer
from appliance.recipe import ExportRecipe
from appliance.rundir import StageFolder
from appliance.tuning.load import load_base
from appliance.tuning.method import load_for, load_tuned, untuned
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.tuning.sample import choose_examples
from appliance.tuning.step import measure_loss
from appliance.values import (
    BaseSpec,
    Dataset,
    ExportChoice,
    MergedModel,
    OnnxModel,
    Precision,
    ProvenModel,
    TrainPlan,
    TunedModel,
)


def prove(
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    merged: MergedModel,
    reference: OnnxModel,
    dataset: Dataset,
    recipe: ExportRecipe,
    stage: StageFolder,
) -> ProvenModel:
    """Hold every rung of the ladder against the one above on held-out text.

    Args:
        plan: threads and device.
        spec: the base model.
        tuned: the trained weights.
        merged: the plain checkpoint.
        reference: its ONNX graph in fp32.
        dataset: its test split is what the rungs read.
        recipe: precision and gate.
        stage: candidate graphs are built in it.

    Returns:
        The ladder, and the graph that ships.

    Raises:
        GateError: a rung is not the model it was made from, or lost too much of the gain.
    """
    torch.set_num_threads(plan.threads)
    split = open_token_file(stage.open(dataset.test.folder))
    sample = [build_pack(split, [row]) for row in choose_examples(split, recipe.parity_tokens)]
    adapter = load_tuned(spec, plan, stage.open(tuned.folder))
    base_loss = _measure_base(adapter, spec, plan, sample)
    plain = wrap_model(
        load_base(
            stage.open(merged.folder),
            quantized=False,
            device=plan.device,
            compute_dtype=plan.compute_dtype,
        ).eval()
    )
    built: dict[Precision, OnnxModel] = {"fp32": reference}
    build_seconds: list[float] = []
    report = check_parity(
        sample,
        base_loss,
        TorchScorer(adapter),
        TorchScorer(plain),
        stage.open(reference.folder),
        [
            (precision, _build_once(precision, built, merged, stage, build_seconds))
            for precision in list_precisions(recipe.precision)
        ],
        merged.merged_into,
        recipe,
        threads=plan.threads,
    )
    return ProvenModel(onnx=built[report.shipped], parity=report, build_seconds=sum(build_seconds))


def _measure_base(
    adapter: DecoderModel, spec: BaseSpec, plan: TrainPlan, sample: list[Pack]
) -> float:
    if plan.method == "full":
        return measure_loss(wrap_model(load_for(spec, plan).eval()), sample)
    with untuned(adapter) as base:
        return measure_loss(base, sample)


def _build_once(
    precision: Precision,
    built: dict[Precision, OnnxModel],
    merged: MergedModel,
    stage: StageFolder,
    seconds: list[float],
) -> Callable[[], Path]:
    def build() -> Path:
        if precision not in built:
            started = time.perf_counter()
            stage.on_event(
                Progress(stage="parity", done=len(built), total=0, unit="graphs", detail=precision)
            )
            built[precision] = export_onnx(merged, ExportChoice(precision=precision), stage)
            seconds.append(time.perf_counter() - started)
        return stage.open(built[precision].folder)

    return build
