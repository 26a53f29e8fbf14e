"""What was forgotten: nothing by a model that did not change, and something by one that did."""

from __future__ import annotations

import shutil

import pytest
import torch

from appliance.bases.spec import read_spec
from appliance.evaluation.forgetting import measure_forgetting
from appliance.rundir import StageFolder
from appliance.tuning.load import load_base
from appliance.tuning.methods import lora
from appliance.tuning.model import wrap_model
from appliance.values import Split
from tests.conftest import EMBEDDED
from tests.tuning.conftest import make_plan, split, tiny_folder  # noqa: F401  (fixtures)


@pytest.mark.parametrize("is_changed", [False, True])
def test_forgetting_is_nought_until_the_weights_change(
    tiny_folder,  # noqa: F811
    split,  # noqa: F811
    tmp_path,
    is_changed,
):
    folder = tmp_path / "base"
    shutil.copytree(tiny_folder, folder)
    shutil.copyfile(EMBEDDED / "tokenizer.json", folder / "tokenizer.json")  # nobody encodes here
    plan = make_plan()
    base = load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32")
    model = wrap_model(lora.attach(base, plan, seed=1).eval())
    if is_changed:
        torch.manual_seed(0)
        for name, value in model.module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.05)
    general = Split(folder="split", num_documents=40, num_examples=40, num_tokens=1, num_labels=1)
    stage = StageFolder(
        name="evaluate",
        folder=tmp_path / "stage",
        run=tmp_path,
        on_event=lambda _: None,
        should_stop=lambda: False,
    )
    stage.folder.mkdir()

    score = measure_forgetting(model, plan, read_spec(folder), general, 0.1, stage)

    if is_changed:
        assert score.own_drift > 0.01
        assert score.rise != 0.0
    else:
        assert (score.rise, score.own_drift) == (0.0, 0.0)
        assert not score.has_forgotten
