"""Every method: what is attached changes nothing at first, and merges into the plain model."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from appliance.dataset.pack import build_pack
from appliance.tuning.load import load_base
from appliance.tuning.method import METHODS, untuned
from appliance.tuning.model import wrap_model
from appliance.tuning.step import measure_loss, sum_pack_loss
from tests.tuning.conftest import make_plan

ALL = ["qlora", "lora", "adapter", "full"]
ADDED = ["qlora", "lora", "adapter"]


def load(folder, quantized):
    return load_base(folder, quantized=quantized, device="cpu", compute_dtype="float32")


@torch.no_grad()
def read_logits(model, split):
    model.module.eval()
    return model.read_hidden(build_pack(split, [1, 2])) @ model.read_head().t()


def disturb(model):
    """Trained weights as they could be: anything but nought."""
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


@pytest.mark.parametrize("method", ADDED)
def test_attached_weights_change_nothing_at_first(tiny_folder, split, method):
    quantized = method in ("qlora", "adapter")
    plain = read_logits(wrap_model(load(tiny_folder, quantized)), split)

    model = METHODS[method].attach(load(tiny_folder, quantized), make_plan(method=method), seed=1)

    torch.testing.assert_close(read_logits(wrap_model(model), split), plain)


@pytest.mark.parametrize("method", ALL)
def test_merged_model_equals_the_trained_one(tiny_folder, split, tmp_path, method):
    quantized = method in ("qlora", "adapter")
    tuning = METHODS[method]
    model = tuning.attach(load(tiny_folder, quantized), make_plan(method=method), seed=1)
    disturb(model)
    trained = read_logits(wrap_model(model), split)
    tuning.save(model, tmp_path / "weights")

    base = load(tiny_folder, quantized)
    if quantized:
        base = base.dequantize()
    merged = tuning.merge(tuning.restore(base, tmp_path / "weights"))
    merged.save_pretrained(tmp_path / "merged")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    pack = build_pack(split, [1])
    with torch.no_grad():
        from_disk = stock(input_ids=torch.from_numpy(pack.token_ids_T)[None]).logits[0]

    merged_logits = read_logits(wrap_model(merged), split)
    torch.testing.assert_close(merged_logits, trained, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(from_disk, merged_logits[: len(from_disk)], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(trained, read_logits(wrap_model(load(tiny_folder, False)), split))


@pytest.mark.parametrize("method", ADDED)
def test_restored_weights_give_the_trained_model_and_untuned_the_base(
    tiny_folder, split, tmp_path, method
):
    quantized = method in ("qlora", "adapter")
    tuning = METHODS[method]
    plain = read_logits(wrap_model(load(tiny_folder, quantized)), split)
    model = tuning.attach(load(tiny_folder, quantized), make_plan(method=method), seed=1)
    disturb(model)
    trained = read_logits(wrap_model(model), split)
    tuning.save(model, tmp_path / "weights")

    restored = wrap_model(tuning.restore(load(tiny_folder, quantized), tmp_path / "weights"))

    assert torch.equal(read_logits(restored, split), trained)
    with untuned(restored) as base:
        torch.testing.assert_close(read_logits(base, split), plain)
    assert torch.equal(read_logits(restored, split), trained)


def test_adapter_widens_every_layer_to_a_multiple_that_quantizes(tiny_folder, tmp_path):
    tuning = METHODS["adapter"]
    model = tuning.attach(load(tiny_folder, False), make_plan(method="adapter", rank=7), seed=1)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]

    merged = tuning.merge(model)

    assert all("layers.1." in name for name in trainable), "only the upper half learns"
    assert merged.config.intermediate_size == 192, "128 + 7, up to a multiple of 64"
    assert {layer.mlp.gate_proj.weight.shape[0] for layer in merged.model.layers} == {192}


def test_qlora_base_lies_in_nf4_with_double_quantization(tiny_folder):
    import bitsandbytes as bnb

    model = load(tiny_folder, True)

    layers = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert len(layers) == 14, "seven matrices in each of two layers"
    assert all(layer.weight.quant_state.quant_type == "nf4" for layer in layers)
    assert all(layer.weight.quant_state.nested for layer in layers)
    assert not isinstance(model.lm_head, bnb.nn.Linear4bit)


@pytest.mark.parametrize("method", ["qlora", "adapter"])
def test_quantized_base_is_the_same_model_in_training_and_evaluation(tiny_folder, split, method):
    """bitsandbytes swaps kernels in evaluation mode on some processors; scoring must not."""
    model = wrap_model(
        METHODS[method].attach(load(tiny_folder, True), make_plan(method=method), seed=1)
    )
    disturb(model.module)
    pack = build_pack(split, [1, 2])

    model.module.train()
    first = sum_pack_loss(model, pack)
    first.backward()
    gradients = {n: p.grad.clone() for n, p in model.module.named_parameters() if p.requires_grad}
    model.module.zero_grad()
    scored = measure_loss(model, [pack]) * pack.num_labels
    second = sum_pack_loss(model, pack)
    second.backward()

    assert scored == pytest.approx(first.item(), rel=1e-6)
    assert all(
        torch.equal(parameter.grad, gradients[name])
        for name, parameter in model.module.named_parameters()
        if parameter.requires_grad
    )
