"""Time. Oracle: the parts of a pack's seconds by hand, and relations that must hold."""

import dataclasses

import pytest

from appliance.planning.device_speed import DeviceSpeed, find_cpu_speed, find_gpu_speed
from appliance.planning.speed import (
    Workload,
    estimate_learning,
    estimate_seconds,
)
from appliance.planning.training import Training
from appliance.planning.work import (
    UPDATE_BYTES,
    count_attention,
    count_flops,
    count_fresh,
    count_operations,
    count_traffic,
    count_unpacked,
)
from appliance.values import Cpu, MeasuredRates, SpeedEstimate
from tests.planning.machines import make_gpu, make_spec

CPU = Cpu(name="", num_cores=2, instruction_sets=(), gflops_fp32=250)
SPEED = find_cpu_speed(CPU)
QLORA = Training(method="qlora", sequence_length=1024)
WORK = Workload(
    train_tokens=100_000,
    valid_tokens=10_000,
    test_tokens=20_000,
    num_epochs=2,
    num_steps=200,
    trial_steps=24,
)


def make_rates(gflops: float, gigabytes: float) -> MeasuredRates:
    return MeasuredRates(
        measured_at=0,
        threads=2,
        fp32_flops_per_second=1e9 * gflops,
        bf16_flops_per_second=1e9,
        memory_bytes_per_second=1e9 * gigabytes,
        disk_write_bytes_per_second=1e9,
        gpus=(),
    )


def make_estimate(tokens_per_second: float) -> SpeedEstimate:
    return SpeedEstimate(
        tokens_per_second=tokens_per_second, low=tokens_per_second, high=tokens_per_second
    )


def test_seconds_of_a_pack_are_those_of_its_parts():
    spec = make_spec("embedded")
    speed = DeviceSpeed(
        flops_per_second=1e11,
        attention_per_second=3e10,
        bytes_per_second=1e10,
        unpacked_per_second=1e9,
        fresh_bytes_per_second=2e9,
        call_seconds=1e-5,
        hides_calls=False,
    )
    attention = count_attention(spec, QLORA)
    products = 1024 * ((count_flops(spec, QLORA) - attention) / 1e11 + attention / 3e10)
    moved = (1024 * count_traffic(spec, QLORA) + UPDATE_BYTES * 299_008 / 2) / 1e10
    unpacked, calls = count_unpacked(spec, QLORA) / 1e9, 1e-5 * count_operations(spec, QLORA)
    whole = products + moved + unpacked + calls
    assert estimate_learning(spec, QLORA, speed) == pytest.approx(1024 / whole)
    given_back = dataclasses.replace(QLORA, returns_memory=True)
    fresh = count_fresh(spec, given_back) / 2e9
    assert estimate_learning(spec, given_back, speed) == pytest.approx(1024 / (whole + fresh))
    hidden = dataclasses.replace(speed, hides_calls=True)
    work = max(products + moved + unpacked, calls)
    assert estimate_learning(spec, QLORA, hidden) == pytest.approx(1024 / work)


def test_recomputing_is_slower():
    again = dataclasses.replace(QLORA, recompute=True)
    spec = make_spec("embedded")
    assert estimate_learning(spec, again, SPEED) < estimate_learning(spec, QLORA, SPEED)


def test_measured_rates_go_before_the_short_probe():
    speed = find_cpu_speed(CPU, make_rates(50, 5))
    twice = find_cpu_speed(CPU, make_rates(100, 10))
    assert twice.flops_per_second == 2 * speed.flops_per_second
    assert twice.bytes_per_second == 2 * speed.bytes_per_second
    assert speed.flops_per_second < SPEED.flops_per_second


def test_gpu_speed_grows_with_its_generation():
    speeds = [
        find_gpu_speed(make_gpu(20, capability)).flops_per_second
        for capability in ("7.0", "7.5", "8.9", "9.0")
    ]
    assert speeds == sorted(speeds)
    assert speeds[0] == speeds[1]  # older than the table: its slowest row


def test_seconds_are_told_for_every_stage_of_the_pipeline():
    spec = make_spec("embedded")
    seconds = estimate_seconds(spec, QLORA, WORK, SPEED, make_estimate(2000))
    stages = ["corpus", "dataset", "tune", "evaluate", "merge", "reference", "parity", "bundle"]
    assert list(seconds) == stages
    assert all(value > 0 for value in seconds.values())
    assert seconds["tune"] > 2 * 100_000 / 2000


def test_fixed_rate_saves_the_trials():
    fixed = dataclasses.replace(WORK, trial_steps=0)
    with_trials, without = (
        estimate_seconds(make_spec("embedded"), QLORA, work, SPEED, make_estimate(2000))["tune"]
        for work in (WORK, fixed)
    )
    # three trials of 24 of 200 steps over 200,000 tokens
    assert with_trials - without >= 3 * 0.12 * 200_000 / 2000
