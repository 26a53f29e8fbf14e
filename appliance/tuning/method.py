"""Which file tunes how: the table from a method's name to its attach, save, restore and merge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedModel

from appliance.tuning.load import load_base
from appliance.tuning.methods import adapter, full, lora, prompt
from appliance.tuning.methods.adapter import GatedBottleneck
from appliance.tuning.methods.prompt import VirtualEmbedding
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.values import BaseSpec, Method, TrainPlan


class TuningMethod(Protocol):
    """What a method offers."""

    def attach(self, model: PreTrainedModel, plan: TrainPlan, seed: int) -> PreTrainedModel:
        """Make trainable weights on a frozen base."""

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Write the trained weights."""

    def restore(self, model: PreTrainedModel, folder: Path) -> PreTrainedModel:
        """Put written weights on a base again."""

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Turn trained weights on a base that is not quantized into a plain model."""


METHODS: dict[Method, TuningMethod] = {
    "qlora": lora,
    "lora": lora,
    "adapter": adapter,
    "full": full,
    "prompt": prompt,
}

QUANTIZED: frozenset[Method] = frozenset({"qlora", "adapter", "prompt"})
"""Methods whose base lies in NF4."""


def load_for(spec: BaseSpec, plan: TrainPlan) -> PreTrainedModel:
    """The base as the plan's method wants it, frozen."""
    base = load_base(
        Path(spec.folder),
        quantized=plan.method in QUANTIZED,
        device=plan.device,
        compute_dtype=plan.compute_dtype,
    )
    if plan.keeps_unpacked:
        base = base.dequantize().requires_grad_(False)
    return base


def load_tuned(spec: BaseSpec, plan: TrainPlan, weights: Path) -> DecoderModel:
    """The base with its trained weights, ready to score or to answer."""
    model = METHODS[plan.method].restore(load_for(spec, plan), weights)
    return wrap_model(model.eval())


@contextmanager
def untuned(model: DecoderModel) -> Iterator[DecoderModel]:
    """The same model as if it had never been tuned (not for full fine-tuning)."""
    if hasattr(model.module, "disable_adapter"):
        with model.module.disable_adapter():
            yield model
        return
    added = [
        module
        for module in model.module.modules()
        if isinstance(module, GatedBottleneck | VirtualEmbedding)
    ]
    for module in added:
        module.is_enabled = False
    try:
        yield model
    finally:
        for module in added:
            module.is_enabled = True


@contextmanager
def opened_base(model: DecoderModel, spec: BaseSpec, plan: TrainPlan) -> Iterator[DecoderModel]:
    """The base of a tuned model: the same weights switched off, or, of full tuning, loaded anew."""
    if plan.method == "full":
        yield wrap_model(load_for(spec, plan).eval())
        return
    with untuned(model) as base:
        yield base
