"""Work of training. Oracle: operations by hand, and the survey's figures."""

import dataclasses

import pytest

from appliance.planning.training import Training
from appliance.planning.work import (
    count_attention,
    count_flops,
    count_forward_flops,
    count_fresh,
    count_traffic,
    count_unpacked,
)
from tests.planning.machines import make_spec


def test_flops_of_a_token_are_those_of_a_hand_calculation():
    spec = make_spec("embedded")
    linear, head, learned = 2_949_120, 8192 * 256, 299_008
    attention = 7 * 1024 * 256 * 4
    lora = count_flops(spec, Training(method="qlora", sequence_length=1024))
    assert lora == 4 * linear + 4 * head + 6 * learned + attention
    full = count_flops(spec, Training(method="full", sequence_length=1024))
    assert full == 6 * (linear + head) + attention


def test_attention_stays_inside_an_example():
    spec = make_spec("embedded")
    whole = Training(method="qlora", sequence_length=1024)
    less = count_flops(spec, whole) - count_flops(
        spec, dataclasses.replace(whole, mean_example=256)
    )
    assert less == 7 * (1024 - 256) * 256 * 4


def test_recomputing_adds_a_forward_pass():
    spec = make_spec("embedded")
    plain = Training(method="qlora", sequence_length=512)
    again = dataclasses.replace(plain, recompute=True)
    more = count_flops(spec, again) - count_flops(spec, plain)
    assert more == count_forward_flops(spec, plain, with_head=False)
    assert count_unpacked(spec, again) == 3 * 2_949_120
    assert count_unpacked(spec, plain) == 2 * 2_949_120
    assert count_traffic(spec, again) > count_traffic(spec, plain)


def test_flops_of_8_billion_agree_with_the_survey():
    """Oracle: 34.0 GFLOP a token at 4,096 tokens without recomputing (performance survey)."""
    flops = count_flops(make_spec("llama-3.1-8b"), Training(method="qlora", sequence_length=4096))
    assert flops == pytest.approx(34.0e9, rel=0.02)


def test_adapter_costs_less_than_qlora_and_less_again_with_a_cached_trunk():
    spec = make_spec("embedded")
    qlora = Training(method="qlora", sequence_length=1024)
    adapter = dataclasses.replace(qlora, method="adapter")
    cached = dataclasses.replace(adapter, trunk_share=0.5)
    costs = [count_flops(spec, training) for training in (qlora, adapter, cached)]
    assert costs == sorted(costs, reverse=True)
    trunk = count_forward_flops(spec, adapter, with_head=False) / 2  # the lower half of the layers
    assert costs[1] - costs[2] == pytest.approx(trunk / 2)


def test_attention_is_a_part_of_all_operations_and_grows_with_examples():
    spec = make_spec("llama-3.1-8b")
    for method in ("qlora", "adapter", "full"):
        for recompute in (False, True):
            short, long = (
                Training(
                    method=method, sequence_length=1024, recompute=recompute, mean_example=length
                )
                for length in (64, 512)
            )
            more = count_attention(spec, long) - count_attention(spec, short)
            assert 0 < count_attention(spec, short) < count_flops(spec, short)
            assert count_flops(spec, long) - count_flops(spec, short) == pytest.approx(more)


def test_memory_comes_new_only_where_freed_memory_is_given_back():
    spec = make_spec("embedded")
    kept = Training(method="qlora", sequence_length=512)
    given_back = Training(method="qlora", sequence_length=512, returns_memory=True)
    assert count_fresh(spec, kept) == 0
    assert count_fresh(spec, given_back) > 4 * count_unpacked(spec, given_back)
