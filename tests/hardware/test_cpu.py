"""The processor. Oracle: samples of /proc/cpuinfo, and a hand calculation of the flops."""

import math

from appliance.hardware import cpu

X86 = """processor\t: 0
model name\t: AMD EPYC 7R13   Processor
flags\t\t: fpu sse2 avx avx2 fma avx512f avx512_bf16 amx_tile amx_bf16

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16 i8mm sve\n"


def test_name_and_instruction_sets_of_the_first_processor_are_read():
    assert cpu.parse_cpu_name(X86) == "AMD EPYC 7R13 Processor"
    assert cpu.parse_instruction_sets(X86) == ("avx2", "avx512f", "avx512_bf16", "amx", "amx_bf16")


def test_arm_features_are_read_and_a_missing_name_is_empty():
    assert cpu.parse_cpu_name(ARM) == ""
    assert cpu.parse_instruction_sets(ARM) == ("neon", "arm_bf16", "i8mm", "sve")


def test_cores_are_cut_by_the_quota_but_never_below_one(monkeypatch):
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: set(range(8)))
    assert cpu.count_cores(math.inf) == 8
    assert cpu.count_cores(2.7) == 2
    assert cpu.count_cores(0.5) == 1
    assert cpu.count_cores(64.0) == 8


def test_cores_are_counted_without_affinity(monkeypatch):
    def refuse(_):
        raise OSError

    monkeypatch.setattr(cpu.os, "sched_getaffinity", refuse)
    monkeypatch.setattr(cpu.os, "cpu_count", lambda: 6)
    assert cpu.count_cores(math.inf) == 6


def test_speed_is_flops_by_the_best_time(monkeypatch):
    times = iter([0.0, 1.0, 1.5, 2.0, 2.5, 9.0, 9.5])  # deadline; then start and end of each run
    monkeypatch.setattr(cpu.time, "perf_counter", lambda: next(times))
    # runs take 0.5, 0.5 and 0.5 s; 2 * 64**3 flops in half a second
    assert cpu.measure_gflops(seconds=5.0, size=64) == round(2 * 64**3 / 0.5 / 1e9, 1)


def test_probe_works_when_proc_cannot_be_read(tmp_path):
    found = cpu.probe_cpu(tmp_path, measure_seconds=0.0)
    assert found.num_cores >= 1
    assert found.gflops_fp32 > 0
    assert found.instruction_sets == ()
