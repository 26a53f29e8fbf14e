"""Corrections of the builder: each is needed, and enough. Oracle: transformers' eager attention."""

import pytest
from exported_model import describe_merged, make_stage
from proof import StockScorer, make_sample
from zoo import ZOO, build_member

from appliance.errors import ExportError
from appliance.export import onnx
from appliance.export.compare import compare
from appliance.export.corrections import CORRECTIONS, list_corrections
from appliance.export.scorers import OnnxScorer
from appliance.values import ExportChoice

MEETS = {
    "rotary-tables": "llama yarn",
    "short-longrope": "phi3 longrope",
    "rope-by-layer": "gemma3 text",
    "window-in-every-layer": "mistral window",
    "layers-without-rope": "smollm3",
    "layer-norm": "olmo",
    "embedding-scale": "gemma",
    "olmo2": "olmo2",
}
"""A configuration that meets each fault."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [correction.name for correction in CORRECTIONS])
def test_builder_still_has_the_fault(name, tmp_path, monkeypatch):
    """When this fails, the library has been mended: take the correction out."""
    (member,) = (member for member in ZOO if member.name == MEETS[name])
    stock = build_member(member, tmp_path / "base")
    assert name in [correction.name for correction in list_corrections(stock.config)]

    def list_others(config):
        return [c for c in list_corrections(config) if c.name != name]

    monkeypatch.setattr(onnx, "list_corrections", list_others)
    stage = make_stage(tmp_path, "export")
    try:
        onnx.export_onnx(describe_merged(tmp_path / "base"), ExportChoice(precision="fp32"), stage)
    except ExportError:
        return
    sample = make_sample(tmp_path / "sample", [member.text])
    comparison = compare(StockScorer(stock), OnnxScorer(stage.folder / "onnx-fp32"), sample)
    assert comparison.max_abs_difference > FAULT_SHOWS


FAULT_SHOWS = 3e-4
"""A right graph stays ten times below this (nats)."""


def test_every_correction_is_tried():
    assert MEETS.keys() == {correction.name for correction in CORRECTIONS}
