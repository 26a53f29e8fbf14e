import copy
import shutil

import numpy as np
import onnx
import pytest
import torch
from exported_model import get_folder

from appliance.errors import ExportError, GateError
from appliance.export.compare import RungComparison
from appliance.export.gates import judge_rung
from appliance.export.parity import check_parity, list_precisions
from appliance.export.scorers import OnnxScorer, TorchScorer
from appliance.recipe import ExportRecipe
from appliance.tuning.model import wrap_model
from appliance.tuning.step import measure_loss

RECIPE = ExportRecipe(min_gain_kept=0.95)  # the gain of these tests is made up
GAIN = 0.5
"""What tuning is taken to have gained, nats: these tests have no untuned model beside the tuned."""


@pytest.fixture
def check(embedded, sample):
    """`check_parity` on the embedded base, with everything right; keywords make something wrong."""
    scorer = TorchScorer(embedded)
    tuned_loss = measure_loss(embedded, sample)

    def call(**changes):
        arguments = {
            "sample": sample,
            "base_loss": tuned_loss + GAIN,
            "adapter": scorer,
            "merged": scorer,
            "fp32": get_folder("fp32"),
            "ladder": [("int4", lambda: get_folder("int4"))],
            "merged_into": "dequantized",
            "recipe": RECIPE,
        }
        return check_parity(**(arguments | changes))

    return call


@pytest.fixture
def damage(tmp_path):
    """A copy of an exported graph in which one constant was changed."""

    def call(precision, name, change):
        folder = tmp_path / f"damaged-{precision}"
        shutil.copytree(get_folder(precision), folder)
        graph = onnx.load(str(folder / "model.onnx"))
        (tensor,) = [entry for entry in graph.graph.initializer if entry.name == name]
        values = onnx.numpy_helper.to_array(tensor).copy()
        change(values)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
        for file in ("model.onnx", "model.onnx.data"):
            (folder / file).unlink()
        onnx.save(
            graph,
            str(folder / "model.onnx"),
            save_as_external_data=True,
            location="model.onnx.data",
        )
        return folder

    return call


def test_check_parity_passes_an_undamaged_model(check):
    report = check()
    assert [rung.rung for rung in report.rungs] == ["adapter", "merged", "onnx-fp32", "onnx-int4"]
    assert all(rung.passed for rung in report.rungs)
    assert report.shipped == "int4"
    assert report.tried == ()
    assert report.num_positions > 150


def test_check_parity_passes_a_graph_that_was_saved_again_without_damage(check, damage):
    folder = damage("fp32", "model.layers.1.mlp.down_proj.MatMul.weight", lambda values: None)
    assert check(fp32=folder).shipped == "int4"


DAMAGES = {
    "a matrix scaled by five percent": (
        "model.layers.2.attn.o_proj.MatMul.weight",
        lambda values: np.multiply(values, 1.05, out=values),
    ),
    "a column of zeros": (
        "model.layers.1.mlp.down_proj.MatMul.weight",
        lambda values: values.__setitem__((slice(None), 0), 0),
    ),
    "two rows exchanged": (
        "model.layers.0.mlp.gate_proj.MatMul.weight",
        lambda values: values.__setitem__([3, 4], values[[4, 3]]),
    ),
    "one bit of one weight": (
        "model.layers.1.mlp.down_proj.MatMul.weight",
        lambda values: values.view(np.uint32).__setitem__(
            (9, 9), values.view(np.uint32)[9, 9] ^ np.uint32(1 << 30)
        ),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_check_parity_refuses_a_damaged_graph(check, damage, name):
    with pytest.raises(GateError, match="the onnx-fp32 model is not the merged model") as caught:
        check(fp32=damage("fp32", *DAMAGES[name]))
    assert "must be" in caught.value.why
    assert "held-out tokens" in caught.value.why
    assert caught.value.fix


def test_check_parity_refuses_a_damaged_merge(check, embedded):
    module = copy.deepcopy(embedded.module)
    with torch.no_grad():
        module.model.layers[2].self_attn.v_proj.weight[5] = 0
    with pytest.raises(GateError, match="the merged model is not the adapter model") as caught:
        check(merged=TorchScorer(wrap_model(module)))
    assert "merge" in caught.value.fix


def test_check_parity_allows_another_rounding_when_merged_into_the_original(check, embedded):
    module = copy.deepcopy(embedded.module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim > 1:  # the size of NF4's rounding
                weight += 0.03 * weight.std() * torch.randn(weight.shape, generator=generator)
    adapter = TorchScorer(wrap_model(module))
    report = check(adapter=adapter, merged_into="original")
    assert report.rungs[1].passed
    assert report.rungs[1].kl > 1e-5
    with pytest.raises(GateError, match="the merged model is not the adapter model"):
        check(adapter=adapter, merged_into="dequantized")


def test_check_parity_climbs_when_int4_is_damaged(check, damage):
    damaged = damage(
        "int4",
        "lm_head.MatMul.weight_scale",
        lambda values: np.multiply(values, 1.3, out=values),
    )
    built = []

    def build(precision, folder):
        return precision, lambda: built.append(precision) or folder

    report = check(
        ladder=[
            build("int4", damaged),
            build("int8", get_folder("int8")),
            build("fp32", get_folder("fp32")),
        ]
    )
    assert report.shipped == "int8"
    assert [entry.choice for entry in report.tried] == ["int4"]
    assert "must be" in report.tried[0].reason
    assert report.rungs[-1].rung == "onnx-int8"
    assert built == ["int4", "int8"]


def test_check_parity_ships_fp32_when_nothing_smaller_keeps_the_gain(check):
    report = check(
        base_loss=check().rungs[0].loss + 0.011,
        ladder=[("int4", lambda: get_folder("int4")), ("fp32", lambda: get_folder("fp32"))],
        recipe=ExportRecipe(min_gain_kept=1.0),
    )
    if report.shipped == "fp32":  # int4 may be better than fp32 by chance
        assert [rung.rung for rung in report.rungs] == ["adapter", "merged", "onnx-fp32"]
        assert report.tried[0].choice == "int4"


def test_check_parity_refuses_when_the_whole_ladder_fails(check, damage):
    damaged = damage(
        "int4",
        "lm_head.MatMul.weight_scale",
        lambda values: np.multiply(values, 1.3, out=values),
    )
    with pytest.raises(GateError, match="no precision of int4 keeps") as caught:
        check(ladder=[("int4", lambda: damaged)])
    assert caught.value.why.startswith("int4: ")
    assert caught.value.fix == "--set export.precision=fp32"


def test_check_parity_asked_for_fp32_builds_nothing_else(check):
    report = check(ladder=[("fp32", lambda: get_folder("fp32"))])
    assert report.shipped == "fp32"
    assert len(report.rungs) == 3


def test_check_parity_refuses_to_judge_without_held_out_tokens(check):
    with pytest.raises(GateError, match="cannot be compared") as caught:
        check(sample=[])
    assert "test_share" in caught.value.fix


def test_list_precisions_starts_where_the_recipe_says():
    assert list_precisions("auto") == ("int4", "int4-mixed", "int8", "fp32")
    assert list_precisions("int8") == ("int8", "fp32")


def make_comparison(**changes):
    figures = {
        "loss_upper": 2.0,
        "loss_lower": 2.0,
        "kl": 0.0,
        "top1": 1.0,
        "num_positions": 1000,
        "max_abs_difference": 0.0,
    }
    return RungComparison(**(figures | changes))


def judge(kind, comparison, *, base_loss=3.0):
    return judge_rung(
        "rung", kind, comparison, base_loss=base_loss, adapter_loss=2.0, min_gain_kept=0.95
    )


@pytest.mark.parametrize(
    ("kind", "changes", "fault"),
    [
        ("same weights", {"kl": 2e-5}, "KL is 2e-05, must be below 1e-05"),
        ("same weights", {"top1": 0.998}, "top-1 agreement is 0.9980, must be 0.999"),
        (
            "same weights",
            {"max_abs_difference": 0.07},
            "log-probability difference is 0.07, must be below 0.02",
        ),
        ("same weights", {"kl": float("nan")}, "KL is nan, must be below 1e-05"),
        ("quantized", {"kl": 0.06}, "KL is 0.06, must be below 0.05"),
        ("quantized", {"loss_lower": 2.06}, "94.0 % of the gain is kept, must be 95.0 %"),
        ("rounded weights", {"loss_lower": 2.06}, "94.0 % of the gain is kept, must be 95.0 %"),
        (
            "quantized",
            {"loss_lower": float("nan")},
            "nan % of the gain is kept, must be 95.0 %",
        ),
    ],
)
def test_judge_rung_names_number_and_threshold(kind, changes, fault):
    rung, said = judge(kind, make_comparison(**changes))
    assert said == fault
    assert not rung.passed


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("same weights", {"kl": 9e-6, "top1": 0.999, "max_abs_difference": 0.01}),
        ("rounded weights", {"kl": 1.0, "top1": 0.5, "loss_lower": 2.04}),
        ("quantized", {"kl": 4e-2, "top1": 0.9, "loss_lower": 2.04, "max_abs_difference": 3.0}),
    ],
)
def test_judge_rung_passes_what_is_within_the_thresholds(kind, changes):
    rung, fault = judge(kind, make_comparison(**changes))
    assert rung.passed
    assert fault == ""


def test_judge_rung_allows_one_tie_on_a_small_sample():
    rung, _ = judge("same weights", make_comparison(top1=0.99, num_positions=100))
    assert rung.passed


@pytest.mark.parametrize(("moved", "passed"), [(0.009, True), (-0.009, True), (0.011, False)])
def test_judge_rung_gates_on_the_loss_itself_when_tuning_gained_nothing(moved, passed):
    rung, fault = judge("quantized", make_comparison(loss_lower=2.0 + moved), base_loss=1.9)
    assert rung.passed is passed
    assert rung.gain_kept is None
    assert "tuning gained only -0.100 nats" in rung.thresholds
    assert bool(fault) is not passed


@pytest.mark.parametrize(("num_positions", "passed"), [(100, True), (10_000, False)])
def test_judge_rung_allows_what_chance_does_on_few_labels(num_positions, passed):
    # logits moved at random: 2 sqrt(2 * 0.02 / 100) = 0.04 nats of loss, on 10,000 labels 0.004
    moved = make_comparison(loss_lower=2.03, kl=0.02, num_positions=num_positions)
    rung, _ = judge("quantized", moved, base_loss=1.9)
    assert rung.passed is passed


def test_onnx_scorer_refuses_a_graph_that_does_not_load(tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(get_folder("int4"), folder)
    (folder / "model.onnx.data").write_bytes(b"short")
    with pytest.raises(ExportError, match="onnx runtime refuses the graph broken"):
        OnnxScorer(folder)
