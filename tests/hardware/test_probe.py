"""The probe as a whole, on this very machine."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from appliance.hardware import allocator, memory, probe
from appliance.offline import go_offline
from appliance.values import Finding

ROOT = Path(__file__).parents[2]


def test_probe_describes_this_machine(tmp_path):
    found = probe.probe(tmp_path / "runs" / "not" / "there")
    assert 0 < found.memory_bytes <= found.memory_total_bytes <= psutil.virtual_memory().total
    assert found.disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert found.swap_total_bytes == psutil.swap_memory().total
    assert 1 <= found.cpu.num_cores <= psutil.cpu_count()
    assert found.cpu.gflops_fp32 > 1
    assert found.software is not None and "torch" in found.software.versions
    assert found.limits is not None


def test_inspection_adds_what_the_libraries_say(tmp_path):
    found = probe.inspect(tmp_path, None)

    assert found.software is not None
    assert "CPUExecutionProvider" in found.software.providers
    levels = [finding.level for finding in found.findings]
    assert levels == sorted(levels, key=("error", "warning", "note").index)


def test_driver_is_not_asked_where_there_is_none(tmp_path, monkeypatch):
    def fail():
        raise AssertionError

    monkeypatch.setattr(probe, "has_nvidia", lambda: False)
    monkeypatch.setattr(probe, "ask_driver", fail)

    assert probe.probe(tmp_path).gpus == ()


def test_driver_that_does_not_answer_is_a_finding(tmp_path, monkeypatch):
    driver = probe.Driver(fault="no answer within 5 s")
    monkeypatch.setattr(probe, "has_nvidia", lambda: True)
    monkeypatch.setattr(probe, "count_nvidia_cards", lambda: 1)
    monkeypatch.setattr(probe, "ask_driver", lambda: driver)

    found = probe.probe(tmp_path)

    assert found.findings[0].what == (
        "an nvidia card is in the machine, but cannot be used: no answer within 5 s"
    )


def test_environment_at_the_start_is_seen_after_it_was_changed():
    """Oracle: a child that was started without the variable, and has set it since."""
    go_offline()
    script = (
        "from appliance.offline import go_offline\n"
        "from appliance.hardware.probe import read_start_environment\n"
        "go_offline()\n"
        "print(read_start_environment())\n"
    )
    environment = {key: os.environ[key] for key in os.environ if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment | {"MARKER": "a=b"},
    )

    assert "'MARKER': 'a=b'" in done.stdout
    assert "ORT_DISABLE_TELEMETRY" not in done.stdout


def test_environment_that_the_system_does_not_keep_is_none(tmp_path):
    assert probe.read_start_environment(tmp_path) is None


def test_findings_are_sorted_by_weight_and_stay_in_order():
    found = [
        Finding(what=what, fix="", level=level)
        for what, level in (("a", "note"), ("b", "error"), ("c", "warning"), ("d", "error"))
    ]

    assert [each.what for each in probe.sort_findings(found)] == ["b", "d", "c", "a"]


def test_disk_is_measured_at_the_nearest_parent_and_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    free = shutil.disk_usage(tmp_path).free
    assert memory.measure_disk_free(tmp_path / "file" / "runs") == pytest.approx(free, rel=0.05)


def test_memory_is_measured_when_psutil_cannot_read_proc(monkeypatch, tmp_path):
    def refuse():
        raise PermissionError

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    monkeypatch.setattr(psutil, "swap_memory", refuse)
    found = memory.probe_memory(tmp_path)
    assert 0 < found.free_bytes <= found.total_bytes


def test_allocator_is_left_alone_without_glibc(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert allocator.return_freed_memory() is False


def test_freed_memory_is_given_back():
    """Oracle: the resident set of a child that frees half of its blocks, from /proc."""
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from appliance.hardware.allocator import return_freed_memory\n"
        "if sys.argv[1] == 'yes': assert return_freed_memory()\n"
        "blocks = [bytearray(b'x' * 2**20) for _ in range(64)]\n"
        "del blocks[::2]\n"
        "print(re.search(r'VmRSS:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    keep = {"MALLOC_MMAP_THRESHOLD_": str(2**28), "MALLOC_TRIM_THRESHOLD_": str(2**28)}
    sizes = {
        answer: int(
            subprocess.run(
                [sys.executable, "-c", script, answer],
                capture_output=True,
                text=True,
                check=True,
                env=keep,
                cwd=ROOT,
            ).stdout
        )
        for answer in ("yes", "no")
    }
    assert sizes["no"] - sizes["yes"] > 25 * 1024  # kibibytes: 32 MiB were freed in holes
