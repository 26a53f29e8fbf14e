"""Packing without contamination: a packed example gives what it gives alone."""

import torch

from appliance.dataset.pack import build_pack
from appliance.tuning.load import load_base
from appliance.tuning.model import wrap_model
from appliance.tuning.step import sum_pack_loss


def load(folder):
    return wrap_model(
        load_base(folder, quantized=False, device="cpu", compute_dtype="float32").eval()
    )


@torch.no_grad()
def test_packed_examples_give_the_loss_they_give_alone(tiny_folder, split):
    model = load(tiny_folder)
    rows = [3, 11, 20, 33]

    together = sum_pack_loss(model, build_pack(split, rows)).item()
    alone = sum(sum_pack_loss(model, build_pack(split, [row])).item() for row in rows)

    assert together == torch.tensor(alone).item() or abs(together - alone) < 1e-3 * abs(alone) / 100


@torch.no_grad()
def test_changing_one_example_leaves_the_others_untouched(tiny_folder, split):
    model = load(tiny_folder)
    pack = build_pack(split, [3, 11, 20])
    before = model.read_hidden(pack)
    start, end = pack.segments[0]

    pack.token_ids_T[start:end] = (pack.token_ids_T[start:end] + 1) % 128
    after = model.read_hidden(pack)

    assert not torch.equal(before[start:end], after[start:end])
    assert torch.equal(before[end:], after[end:])


@torch.no_grad()
def test_hidden_states_equal_those_of_the_stock_attention(tiny_folder, split):
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager").eval()
    pack = build_pack(split, [5])

    ours = load(tiny_folder).read_hidden(pack)
    theirs = stock.model(
        input_ids=torch.from_numpy(pack.token_ids_T)[None], use_cache=False
    ).last_hidden_state[0]

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
