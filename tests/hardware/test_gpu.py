"""Which GPUs a job may use. Oracle: the rules of CUDA, and sizes that were put in."""

import json
from dataclasses import asdict

import pytest

from appliance.hardware import gpu
from appliance.hardware.ask import Answer
from appliance.hardware.memory import Memory
from appliance.hardware.nvml import read_driver
from appliance.hardware.support import CudaSupport
from tests.hardware.fake_nvml import GIB, NOT_SUPPORTED, FakeNvml

CUDA = CudaSupport(torch_cuda="12.8", bitsandbytes_cuda=frozenset({"126", "128"}))
CPU_ONLY = CudaSupport(torch_cuda=None, bitsandbytes_cuda=frozenset({"128"}))
MEMORY = Memory(free_bytes=90 * GIB, total_bytes=120 * GIB)


def list_fake(nvml=None, support=CUDA, visible=None):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return gpu.list_gpus(read_driver(nvml or FakeNvml()), support, environment, MEMORY)


def test_usable_gpu_is_described():
    first, _ = list_fake()

    assert first.usable and first.why_not == ""
    assert (first.total_bytes, first.free_bytes) == (24 * GIB, 20 * GIB)
    assert (first.capability, first.driver, first.uuid) == ("9.0", "580.95.05", "GPU-0abc")
    assert first.supports_bf16 and first.supports_fp16 and first.supports_int8


def test_known_card_has_the_speed_of_its_data_sheet():
    """Oracle: H100 SXM data sheet: 989 TFLOP/s dense, 3.35 TB/s."""
    assert list_fake()[0].peak_flops_per_second == 989e12
    assert list_fake()[0].peak_bytes_per_second == 3350e9


def test_unknown_card_has_no_speed():
    assert list_fake(FakeNvml(name="NVIDIA X1"))[0].peak_flops_per_second == 0


@pytest.mark.parametrize(
    ("capability", "formats"),
    [((5, 2), (0, 0, 0)), ((6, 1), (0, 1, 1)), ((7, 5), (0, 1, 1)), ((8, 0), (1, 1, 1))],
)
def test_number_formats_follow_the_capability(capability, formats):
    """Oracle: table of arithmetic instructions of the CUDA C++ Programming Guide."""
    found = list_fake(FakeNvml(capability=capability))[0]

    assert (found.supports_bf16, found.supports_fp16, found.supports_int8) == formats


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("1", ["GPU-1abc"]),
        ("1,0", ["GPU-1abc", "GPU-0abc"]),
        ("", []),
        ("-1", []),
        ("GPU-1", ["GPU-1abc"]),
        ("0,7,1", ["GPU-0abc"]),
        ("0,0", ["GPU-0abc"]),
    ],
)
def test_visible_devices_are_honoured(wanted, chosen):
    assert [found.uuid for found in list_fake(visible=wanted)] == chosen


def test_divided_card_gives_its_first_slice_and_lists_all():
    first, second = list_fake(FakeNvml(slices=[10, 5]))

    assert (first.total_bytes, first.free_bytes) == (10 * GIB, 9 * GIB)
    assert first.name == "NVIDIA H100 80GB HBM3 · MIG 10g"
    assert [part.total_bytes for part in first.slices] == [10 * GIB, 5 * GIB]
    assert second.total_bytes == 24 * GIB


def test_named_slice_is_the_one_that_is_taken():
    (only,) = list_fake(FakeNvml(slices=[10, 5]), visible="MIG-1abc")

    assert (only.uuid, only.total_bytes) == ("MIG-1abc", 5 * GIB)


def test_slice_has_its_share_of_the_speed():
    first, _ = list_fake(FakeNvml(slices=[6]))

    assert first.peak_flops_per_second == pytest.approx(989e12 * 6 / 24)


def test_divided_card_without_slices_cannot_be_used():
    first, second = list_fake(FakeNvml(slices=[]))

    assert not first.usable and second.usable
    assert first.why_not == "it is in mig mode and has no slice"
    assert "nvidia-smi mig -cgi" in first.fix


def test_card_without_memory_of_its_own_has_the_machines():
    nvml = FakeNvml(fails={"nvmlDeviceGetMemoryInfo": NOT_SUPPORTED})

    assert list_fake(nvml)[0].free_bytes == MEMORY.free_bytes


def test_unusable_gpu_says_why_and_what_mends_it():
    first, _ = list_fake(support=CPU_ONLY)

    assert not first.usable
    assert first.why_not == "the installed torch was built for the cpu alone"
    assert first.fix == "install the cuda build of the same torch version"


def test_driver_survives_the_way_through_the_child():
    driver = read_driver(FakeNvml(slices=[10], processes=[(7, GIB)]))

    assert gpu.parse_driver(Answer(text=json.dumps(asdict(driver)))) == driver


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cards": 3}'])
def test_unreadable_answer_is_a_fault(text):
    assert gpu.parse_driver(Answer(text=text)).fault == "its answer cannot be read"


def test_silent_child_is_a_fault():
    assert gpu.parse_driver(Answer(fault="no answer within 5 s")).fault == "no answer within 5 s"
