"""The probe as a whole, on this very machine."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from appliance.hardware import allocator, memory, probe
from appliance.hardware.gpu import CudaSupport
from appliance.hardware.memory import Memory
from appliance.values import Gpu

GIB = 2**30
CUDA = CudaSupport(torch_cuda="12.8", bitsandbytes_cuda=frozenset({"128"}))
CPU_ONLY = CudaSupport(torch_cuda=None, bitsandbytes_cuda=frozenset())
PLENTY = Memory(free_bytes=32 * GIB, total_bytes=64 * GIB, swap_free_bytes=0)
CARD = Gpu(
    name="Card",
    total_bytes=24 * GIB,
    free_bytes=20 * GIB,
    capability="9.0",
    supports_bf16=True,
    usable=True,
)


def test_probe_describes_this_machine(tmp_path):
    found = probe.probe(tmp_path / "runs" / "not" / "there")
    assert 0 < found.memory_bytes <= found.memory_total_bytes <= psutil.virtual_memory().total
    assert found.disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert 1 <= found.cpu.num_cores <= psutil.cpu_count()
    assert found.cpu.gflops_fp32 > 1


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


def test_healthy_machine_has_no_findings():
    assert probe.collect_findings((CARD,), CUDA, PLENTY, 100 * GIB) == ()


def test_missing_gpu_is_a_finding():
    (finding,) = probe.collect_findings((), CUDA, PLENTY, 100 * GIB)
    assert finding.what == "no nvidia gpu is visible: training runs on the processor"
    assert "nvidia-smi" in finding.fix


def test_gpu_beside_a_torch_for_the_cpu_is_a_finding_with_a_fix():
    card = CARD.model_copy(update={"usable": False, "why_not": "the installed torch is cpu-only"})
    (finding,) = probe.collect_findings((card,), CPU_ONLY, PLENTY, 100 * GIB)
    assert finding.what == "Card cannot be used: the installed torch is cpu-only"
    assert finding.fix == "install the cuda build of the same torch version"


def test_old_driver_is_a_finding_with_a_fix():
    card = CARD.model_copy(update={"usable": False, "why_not": "the driver supports cuda 11.4"})
    (finding,) = probe.collect_findings((card,), CUDA, PLENTY, 100 * GIB)
    assert finding.fix.startswith("update the nvidia driver")


def test_low_memory_and_low_disk_are_findings_with_numbers():
    low = Memory(free_bytes=GIB, total_bytes=4 * GIB, swap_free_bytes=8 * GIB)
    first, second = probe.collect_findings((CARD,), CUDA, low, GIB)
    assert first.what == (
        "only 1.0 GiB of 4.0 GiB memory are free (training wants 1.5 GiB or more); "
        "8.0 GiB of swap are not counted: training in swap does not finish"
    )
    assert "memory limit" in first.fix
    assert second.what == (
        "only 1.0 GiB of disk are free where runs are written (a run wants 2.0 GiB or more)"
    )
    assert "--runs" in second.fix


def test_low_memory_without_swap_says_nothing_of_swap():
    low = Memory(free_bytes=GIB, total_bytes=4 * GIB, swap_free_bytes=0)
    assert "swap" not in probe.collect_findings((CARD,), CUDA, low, 100 * GIB)[0].what


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
                cwd=Path(__file__).parents[2],
            ).stdout
        )
        for answer in ("yes", "no")
    }
    assert sizes["no"] - sizes["yes"] > 25 * 1024  # kibibytes: 32 MiB were freed in holes
