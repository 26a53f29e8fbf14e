"""Packing without contamination: a packed example gives what it gives alone."""

import pytest
import torch

from appliance.dataset.pack import build_pack
from appliance.tuning.attention import attend_segments, make_mask
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


def test_mask_shows_a_window_of_keys_up_to_the_query_itself():
    mask = make_mask(2, 5, 3, torch.device("cpu"))  # the last two of five positions

    assert mask.int().tolist() == [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]


def test_mask_is_left_out_where_plain_causal_attention_is_the_same():
    assert make_mask(4, 4, None, torch.device("cpu")) is None
    assert make_mask(4, 4, 4, torch.device("cpu")) is None


@pytest.mark.parametrize("window", [None, 50])
def test_capped_attention_in_rows_equals_the_formula(window):
    """Oracle: softmax(cap · tanh(q k / cap)) v, written out, over more queries than are held."""
    torch.manual_seed(4)
    query, key, value = (torch.randn(1, heads, 300, 8) for heads in (4, 2, 2))
    query.requires_grad_(True)
    scores = query @ key.repeat_interleave(2, 1).mT / 8**0.5
    place = torch.arange(300)
    seen = place[:, None] - place
    hidden = (seen < 0) | (seen >= (window or 300))
    scores = (2.0 * torch.tanh(scores / 2.0)).masked_fill(hidden, -torch.inf)
    wanted = (scores.softmax(-1) @ value.repeat_interleave(2, 1)).transpose(1, 2)
    (wanted_gradient,) = torch.autograd.grad(wanted.square().sum(), query)

    out, _ = attend_segments(
        torch.nn.Module(), query, key, value, None, sliding_window=window, softcap=2.0
    )
    (gradient,) = torch.autograd.grad(out.square().sum(), query)

    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-6)


def test_attention_sinks_are_refused():
    query = torch.zeros(1, 1, 2, 8)
    with pytest.raises(NotImplementedError):
        attend_segments(torch.nn.Module(), query, query, query, None, s_aux=torch.zeros(1))
