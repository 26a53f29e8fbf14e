"""Measured speeds. Oracle: two ways to measure the same, and what lies in the cache folder."""

import itertools
import json
import stat
from pathlib import Path

import pytest
import torch

from appliance.errors import ResourceError
from appliance.hardware import ask, benchmark, rates
from appliance.units import MIB
from appliance.values import MeasuredRates

CPU = torch.device("cpu")
MEASURED = MeasuredRates(
    fp32_flops_per_second=7e10,
    bf16_flops_per_second=9e9,
    memory_bytes_per_second=2e10,
    disk_write_bytes_per_second=2e8,
    measured_at=1.0,
    threads=2,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "appliance"


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves on by a second whenever it is read: every piece of work takes one."""
    seconds = itertools.count()
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: float(next(seconds)))


@pytest.mark.usefixtures("clock")
def test_products_are_counted_as_six_operations_an_element():
    """Oracle: three products of n x n matrices, 2 n^3 operations each."""
    assert benchmark.measure_products(torch.float32, CPU, 100.0, (64,)) == 6 * 64**3


@pytest.mark.usefixtures("clock")
def test_largest_size_counts_when_there_is_time():
    assert benchmark.measure_products(torch.float32, CPU, 1000.0, (32, 64)) == 6 * 64**3


@pytest.mark.usefixtures("clock")
def test_slow_format_stops_before_a_size_that_takes_too_long():
    """A round took one second, the next size would take eight, and five are left."""
    assert benchmark.measure_products(torch.float32, CPU, 8.0, (32, 65_536)) == 6 * 32**3


@pytest.mark.usefixtures("clock")
def test_triad_counts_three_arrays():
    assert benchmark.measure_triad(CPU, 3.0, 4 * MIB) == 3 * 4 * MIB


def test_measured_speeds_are_kept_for_their_owner_alone(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "COMPUTE_SECONDS", 0.1)
    assert rates.load_rates() is None

    measured = rates.measure(tmp_path / "runs")

    assert rates.load_rates() == measured
    assert measured.fp32_flops_per_second > 0
    assert measured.disk_write_bytes_per_second > 0
    assert 0 < measured.cpu_share <= 1
    (file,) = cache.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def write(cache, text):
    cache.mkdir(parents=True)
    rates.locate_rates().write_text(text)


def test_kept_speeds_are_read_back(cache):
    write(cache, json.dumps(MEASURED.model_dump() | {"format": 1}))

    assert rates.load_rates() == MEASURED


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 1}', json.dumps(MEASURED.model_dump() | {"format": 99}), "\0"],
)
def test_unreadable_speeds_are_none(cache, text):
    write(cache, text)

    assert rates.load_rates() is None


def lay_out(folder, cpu="CPU 1", driver=None):
    (folder / "proc").mkdir(parents=True)
    (folder / "proc/cpuinfo").write_text(f"model name : {cpu}\n")
    if driver:
        (folder / "proc/driver/nvidia").mkdir(parents=True)
        (folder / "proc/driver/nvidia/version").write_text(driver)
    return rates.identify_machine(folder)


def test_other_processor_or_driver_is_another_machine(tmp_path):
    machines = [
        lay_out(tmp_path / "a"),
        lay_out(tmp_path / "b", cpu="CPU 2"),
        lay_out(tmp_path / "c", driver="580.95.05"),
    ]

    assert len(set(machines)) == 3
    assert lay_out(tmp_path / "d") == machines[0]


def test_measurement_that_does_not_end_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(rates, "LIMIT_SECONDS", 0.2)

    with pytest.raises(ResourceError) as caught:
        rates.measure(tmp_path)

    assert caught.value.why == "no answer within 0.2 s"


def test_cache_that_cannot_be_written_says_where(monkeypatch, tmp_path):
    class Done:
        def read(self):
            return ask.Answer(text=MEASURED.model_dump_json(exclude={"measured_at"}))

    class Asking:
        def __enter__(self):
            return Done()

        def __exit__(self, *_):
            pass

    (tmp_path / "cache").write_text("a file in the way")
    monkeypatch.setattr(rates, "asking", lambda *_: Asking())

    with pytest.raises(ResourceError) as caught:
        rates.measure(Path("runs"))

    assert str(tmp_path / "cache") in caught.value.why
    assert "XDG_CACHE_HOME" in caught.value.fix
