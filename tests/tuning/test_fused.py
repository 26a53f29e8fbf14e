"""The fused layers beside the plain ones of transformers, PEFT and bitsandbytes.

Oracle: the same model with its layers as they come, loss and every gradient within 1e-5.
"""

from types import SimpleNamespace

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from appliance.dataset.pack import build_pack
from appliance.tuning.attention import IMPLEMENTATION
from appliance.tuning.fused import fuse
from appliance.tuning.load import load_base
from appliance.tuning.method import METHODS, load_for
from appliance.tuning.model import wrap_model
from appliance.tuning.step import sum_pack_loss
from tests.tuning.conftest import VOCAB, make_plan

CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}


def save_base(family, folder):
    torch.manual_seed(7)
    config = CONFIGS[family](
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=False,
        attn_implementation=IMPLEMENTATION,
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.15)
    model.save_pretrained(folder)
    return folder


def learn(folder, method, quantized, pack, *, fused, recompute=False):
    """Loss of a pack, and the gradient of everything that learns."""
    base = load_base(folder, quantized=quantized, device="cpu", compute_dtype="float32")
    module = METHODS[method].attach(base, make_plan(method=method), seed=3)
    torch.manual_seed(4)
    for parameter in module.parameters():
        if parameter.requires_grad:  # an update at nought would hide the gradient of its other side
            torch.nn.init.normal_(parameter, std=0.05)
    if fused:
        fuse(module)
    if recompute:
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    module.train()
    loss = sum_pack_loss(wrap_model(module), pack) / pack.num_labels
    loss.backward()
    return loss.item(), {n: p.grad for n, p in module.named_parameters() if p.requires_grad}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, about checkpointing
@pytest.mark.parametrize(
    ("family", "method", "quantized", "recompute"),
    [
        ("llama", "qlora", True, False),
        ("qwen2", "lora", False, True),
        ("qwen3", "qlora", True, True),
        ("qwen3", "adapter", True, False),
        ("llama", "prompt", False, False),
    ],
)
def test_fused_layers_give_the_loss_and_gradients_of_the_plain_ones(
    tmp_path, split, family, method, quantized, recompute
):
    folder = save_base(family, tmp_path)
    pack = build_pack(split, [0, 1, 2, 3])

    plain_loss, plain = learn(folder, method, quantized, pack, fused=False)
    loss, grads = learn(folder, method, quantized, pack, fused=True, recompute=recompute)

    assert loss == pytest.approx(plain_loss, rel=1e-5)
    assert grads.keys() == plain.keys()
    for name, grad in plain.items():
        error = (grads[name] - grad).norm() / grad.norm()
        assert error < 1e-5, f"{name}: {error:.1e}"


def test_fused_layers_are_the_base_when_the_update_is_switched_off(tiny_folder, split):
    pack = build_pack(split, [0, 1])
    base = load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32")
    with torch.no_grad():
        expected = sum_pack_loss(wrap_model(base), pack).item()
        module = METHODS["lora"].attach(base, make_plan(), seed=3)
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        fuse(module)
        tuned = sum_pack_loss(wrap_model(module), pack).item()
        with module.disable_adapter():
            assert sum_pack_loss(wrap_model(module), pack).item() == pytest.approx(
                expected, rel=1e-6
            )

    assert tuned != pytest.approx(expected, rel=1e-3)


def test_base_kept_unpacked_is_the_base_in_nf4(tiny_folder, split):
    spec = SimpleNamespace(folder=str(tiny_folder))
    pack = build_pack(split, [0, 1])
    with torch.no_grad():
        packed = wrap_model(load_for(spec, make_plan(method="qlora")))
        unpacked = wrap_model(load_for(spec, make_plan(method="qlora", keeps_unpacked=True)))
        hidden = [model.read_hidden(pack) for model in (packed, unpacked)]

    torch.testing.assert_close(hidden[0], hidden[1], rtol=1e-5, atol=1e-5)
    assert not any(isinstance(module, Linear4bit) for module in unpacked.module.modules())
    assert not any(parameter.requires_grad for parameter in unpacked.module.parameters())
