"""Time. Oracle: floating-point operations by hand, and the speeds that were measured."""

import pytest

from appliance.planning.speed import (
    Workload,
    count_flops,
    count_forward_flops,
    estimate_seconds,
    measure_speed,
)
from appliance.planning.training import Training
from appliance.values import Cpu
from tests.planning.machines import make_gpu, make_spec

CPU = Cpu(name="", num_cores=2, instruction_sets=(), gflops_fp32=250)
WORK = Workload(
    train_tokens=100_000,
    valid_tokens=10_000,
    test_tokens=20_000,
    num_epochs=2,
    num_steps=200,
    trial_steps=24,
)


def test_flops_of_a_token_are_those_of_a_hand_calculation():
    spec = make_spec("embedded")
    linear, head, learned = 2_949_120, 8192 * 256, 299_008
    attention = 7 * 1024 * 256 * 4
    lora = count_flops(spec, Training(method="qlora", sequence_length=1024))
    assert lora == 4 * linear + 4 * head + 6 * learned + attention
    full = count_flops(spec, Training(method="full", sequence_length=1024))
    assert full == 6 * (linear + head) + attention


def test_recomputing_adds_a_forward_pass():
    spec = make_spec("embedded")
    plain = count_flops(spec, Training(method="qlora", sequence_length=512))
    again = count_flops(spec, Training(method="qlora", sequence_length=512, recompute=True))
    assert again - plain == count_forward_flops(spec, 512)


def test_flops_of_8_billion_agree_with_the_survey():
    """Oracle: 34.0 GFLOP a token at 4,096 tokens without recomputing (performance survey)."""
    flops = count_flops(make_spec("llama-3.1-8b"), Training(method="qlora", sequence_length=4096))
    assert flops == pytest.approx(34.0e9, rel=0.02)


def test_adapter_costs_less_than_qlora():
    spec = make_spec("embedded")
    adapter, qlora = (
        count_flops(spec, Training(method=method, sequence_length=1024))
        for method in ("adapter", "qlora")
    )
    assert adapter < qlora


def test_full_training_of_the_embedded_base_has_the_measured_speed():
    """Oracle: 4,000 tokens a second at 250 GFLOP/s, measured; attention is per segment there."""
    training = Training(method="full", sequence_length=1024)
    speed = measure_speed("full", CPU, None) / count_flops(make_spec("embedded"), training)
    assert speed == pytest.approx(4000, rel=0.25)


def test_gpu_speed_grows_with_its_generation():
    speeds = [measure_speed("qlora", CPU, make_gpu(20, c)) for c in ("7.0", "7.5", "8.9", "9.0")]
    assert speeds == sorted(speeds)
    assert speeds[0] == speeds[1]  # older than the table: its slowest row


def test_seconds_are_told_for_every_stage_of_the_pipeline():
    seconds = estimate_seconds(
        make_spec("embedded"), Training(method="qlora", sequence_length=1024), WORK, CPU
    )
    stages = ["corpus", "dataset", "tune", "evaluate", "merge", "reference", "parity", "bundle"]
    assert list(seconds) == stages
    assert all(value > 0 for value in seconds.values())


def test_fixed_rate_saves_the_trials():
    import dataclasses

    spec, training = make_spec("embedded"), Training(method="qlora", sequence_length=1024)
    fixed = dataclasses.replace(WORK, trial_steps=0)
    with_trials = estimate_seconds(spec, training, WORK, CPU)["tune"]
    assert estimate_seconds(spec, training, fixed, CPU)["tune"] < 0.85 * with_trials
