"""What is wrong with a machine, and what mends it."""

import pytest

from appliance.hardware import findings
from appliance.hardware.libraries import TorchDevice, TorchDevices
from appliance.hardware.memory import Memory
from appliance.hardware.nvml import Driver
from appliance.units import GIB
from appliance.values import Cpu, Gpu, GpuProcess, MeasuredRates

CARD = Gpu(
    name="Card",
    total_bytes=24 * GIB,
    free_bytes=20 * GIB,
    capability="9.0",
    supports_bf16=True,
    usable=True,
)
SEEN = TorchDevice(
    kind="cuda",
    name="Card",
    total_bytes=24 * GIB,
    free_bytes=20 * GIB,
    capability=(9, 0),
    supports_bf16=True,
)


def change(**changes):
    return CARD.model_copy(update=changes)


def make_rates(**changes):
    rates = {
        "fp32_flops_per_second": 70e9,
        "bf16_flops_per_second": 140e9,
        "memory_bytes_per_second": 20e9,
        "disk_write_bytes_per_second": 200e6,
        "measured_at": 0,
        "threads": 2,
    }
    return MeasuredRates(**(rates | changes))


def make_cpu(*sets):
    return Cpu(name="CPU", num_cores=2, instruction_sets=sets, gflops_fp32=100)


def test_healthy_machine_has_no_findings():
    assert findings.explain_gpus((CARD,), 0) == []
    assert findings.explain_memory(Memory(free_bytes=32 * GIB, total_bytes=64 * GIB)) == []
    assert findings.explain_disk(100 * GIB) == []
    assert findings.explain_torch((CARD,), TorchDevices(devices=(SEEN,))) == []
    assert findings.explain_bf16(make_cpu("avx512_bf16"), None) == []
    assert findings.explain_bf16(make_cpu(), make_rates()) == []
    assert findings.explain_slow_disk(make_rates()) == []
    assert findings.explain_disturbance(make_rates()) == []


def test_machine_without_a_card_trains_on_the_processor():
    finding = findings.explain_missing_gpu(Driver(), 0)

    assert finding.what == "no nvidia gpu is visible: training runs on the processor"
    assert "nvidia-smi" in finding.fix
    assert finding.level == "note"


@pytest.mark.parametrize(
    ("fault", "what", "fix"),
    [
        ("Driver Not Loaded", "cannot be used: Driver Not Loaded", "install the nvidia driver"),
        (
            "RM has detected an NVML/RM version mismatch.",
            "cannot be used: RM has detected",
            "restart the machine",
        ),
        ("no answer within 5 s", "no answer within 5 s", "install the nvidia driver"),
        ("", "the driver shows none to this program", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_card_on_the_bus_without_a_driver_is_an_error(fault, what, fix):
    finding = findings.explain_missing_gpu(Driver(fault=fault), 1)

    assert finding.what.startswith("an nvidia card is in the machine, but")
    assert what in finding.what
    assert fix in finding.fix
    assert finding.level == "error"


def test_unusable_card_is_an_error_with_its_fix():
    card = change(usable=False, why_not="the installed torch is cpu-only", fix="install the other")

    (finding,) = findings.explain_gpus((card,), 0)

    assert finding.what == "Card cannot be used: the installed torch is cpu-only"
    assert (finding.fix, finding.level) == ("install the other", "error")


def test_cards_are_told_apart_where_there_are_several():
    card = change(usable=False, why_not="no kernels")

    first, second = findings.explain_gpus((card, card), 0)

    assert first.what == "gpu 0 (Card) cannot be used: no kernels"
    assert second.what == "gpu 1 (Card) cannot be used: no kernels"


def test_program_that_holds_a_card_is_named():
    holder = GpuProcess(pid=7, name="python3", used_bytes=9 * GIB)
    other = GpuProcess(pid=8, name="Xorg", used_bytes=GIB)
    card = change(free_bytes=14 * GIB, processes=(holder, other))

    (finding,) = findings.explain_gpus((card,), 0)

    assert finding.what == "10.0 GiB of Card are held by python3 (process 7) and 1 more"
    assert finding.level == "note"


def test_screen_that_holds_a_little_is_not_worth_a_word():
    card = change(free_bytes=23 * GIB, processes=(GpuProcess(pid=8, name="Xorg", used_bytes=GIB),))

    assert findings.explain_gpus((card,), 0) == []


def test_memory_errors_slowdown_and_lost_cards_are_found():
    card = change(ecc_errors=3, slowdown="heat", temperature_celsius=93)

    lost, worn, slow = findings.explain_gpus((card,), 1)

    assert lost.what == "1 of the nvidia cards do not answer"
    assert worn.what == "Card has 3 memory errors that could not be corrected"
    assert slow.what == "Card runs below its clock because of heat at 93 °C"


def test_torch_that_sees_no_card_is_an_error_in_its_own_words():
    (finding,) = findings.explain_torch((CARD,), TorchDevices(fault="CUDA unknown error"))

    assert finding.what == "torch does not see the gpu: CUDA unknown error"
    assert finding.level == "error"


def test_low_memory_and_low_disk_are_errors_with_numbers():
    low = Memory(free_bytes=GIB, total_bytes=4 * GIB, swap_free_bytes=8 * GIB)
    (memory,) = findings.explain_memory(low)
    (disk,) = findings.explain_disk(GIB)

    assert memory.what == (
        "only 1.0 GiB of 4.0 GiB memory are free (training wants 1.5 GiB or more); "
        "8.0 GiB of swap are not counted: training in swap does not finish"
    )
    assert "memory limit" in memory.fix
    assert disk.what == (
        "only 1.0 GiB of disk are free where runs are written (a run wants 2.0 GiB or more)"
    )
    assert "--runs" in disk.fix


def test_low_memory_without_swap_says_nothing_of_swap():
    (finding,) = findings.explain_memory(Memory(free_bytes=GIB, total_bytes=4 * GIB))

    assert "swap" not in finding.what


def test_emulated_bfloat16_is_told_from_the_instructions():
    (finding,) = findings.explain_bf16(make_cpu("avx2"), None)

    assert "emulates it" in finding.what


def test_slow_bfloat16_is_told_by_measurement_whatever_the_instructions():
    rates = make_rates(bf16_flops_per_second=9.6e9)

    (finding,) = findings.explain_bf16(make_cpu("avx512_bf16"), rates)

    assert "9.6 against 70.0 GFLOP/s" in finding.what


def test_slow_disk_says_how_long_a_checkpoint_takes():
    """Oracle: 1 GiB / (10 MiB/s) = 102.4 s."""
    (finding,) = findings.explain_slow_disk(make_rates(disk_write_bytes_per_second=10 * 2**20))

    assert "10.0 MiB/s: a checkpoint of 1 GiB takes 2 min" in finding.what


def test_disk_that_takes_nothing_is_an_error():
    (finding,) = findings.explain_slow_disk(make_rates(disk_write_bytes_per_second=0))

    assert finding.level == "error"


def test_measurement_beside_other_programs_is_doubted():
    (finding,) = findings.explain_disturbance(make_rates(cpu_share=0.4))

    assert "with 40% of the processor" in finding.what
    assert "--measure" in finding.fix
