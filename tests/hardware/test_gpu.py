"""GPUs. The driver is not ours and not reachable: a stand-in with NVML's own names answers."""

import importlib.metadata
from types import SimpleNamespace

import pytest

from appliance.hardware import gpu

GIB = 2**30
CUDA = gpu.CudaSupport(torch_cuda="12.8", bitsandbytes_cuda=frozenset({"126", "128"}))
CPU_ONLY = gpu.CudaSupport(torch_cuda=None, bitsandbytes_cuda=frozenset({"128"}))


class Driver:
    """NVML with two cards."""

    class NVMLError(Exception):
        pass

    def __init__(self, capability=(9, 0), driver_cuda=12080, starts=True, unsupported=()):
        self.capability, self.driver_cuda, self.starts = capability, driver_cuda, starts
        self.unsupported, self.is_shut = unsupported, False

    def nvmlInit(self):
        if not self.starts:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self):
        self.is_shut = True

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return self.driver_cuda

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}abc"

    def nvmlDeviceGetName(self, handle):
        if "name" in self.unsupported:
            raise self.NVMLError("Not Supported")
        return f"Card {handle}".encode()

    def nvmlDeviceGetMemoryInfo(self, handle):
        if handle in self.unsupported:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(total=24 * GIB, free=20 * GIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return self.capability


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_usable_gpu_is_described():
    driver = Driver()
    first, second = gpu.list_gpus(CUDA, driver)
    assert (first.name, second.name) == ("Card 0", "Card 1")
    assert (first.total_bytes, first.free_bytes) == (24 * GIB, 20 * GIB)
    assert first.capability == "9.0"
    assert first.supports_bf16 and first.usable and first.why_not == ""
    assert driver.is_shut


def test_no_driver_means_no_gpus():
    assert gpu.list_gpus(CUDA, Driver(starts=False)) == ()


def test_turing_has_no_bf16():
    assert not gpu.list_gpus(CUDA, Driver(capability=(7, 5)))[0].supports_bf16


def test_lost_gpu_is_left_out_and_unsupported_question_gets_a_default():
    (left,) = gpu.list_gpus(CUDA, Driver(unsupported=(0, "name")))
    assert left.name == "unknown gpu"


@pytest.mark.parametrize(
    ("support", "driver", "why_not"),
    [
        (CPU_ONLY, Driver(), "the installed torch was built for the cpu alone"),
        (CUDA, Driver(capability=(6, 1)), "compute capability 6.1 is below 7.5"),
        (
            gpu.CudaSupport(torch_cuda="13.0", bitsandbytes_cuda=frozenset({"130"})),
            Driver(driver_cuda=12020),
            "the driver supports cuda 12.2, torch was built for cuda 13.0",
        ),
        (
            gpu.CudaSupport(torch_cuda="12.9", bitsandbytes_cuda=frozenset({"126", "128"})),
            Driver(),
            "bitsandbytes has no library for cuda 12.9 (has: 126, 128)",
        ),
        (
            gpu.CudaSupport(
                torch_cuda=None, bitsandbytes_cuda=frozenset(), is_torch_installed=False
            ),
            Driver(),
            "torch is not installed",
        ),
    ],
)
def test_unusable_gpu_says_why_and_what_mends_it(support, driver, why_not):
    found = gpu.list_gpus(support, driver)[0]
    assert not found.usable
    assert why_not in found.why_not
    assert gpu.find_why_not(support, driver.capability, driver.driver_cuda).fix


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("1", [1]), ("1,0", [1, 0]), ("", []), ("-1", []), ("GPU-1", [1]), ("0,7,1", [0])],
)
def test_visible_devices_are_honoured(wanted, chosen):
    uuids = ["GPU-0abc", "GPU-1abc"]
    assert gpu.choose_visible(uuids, {"CUDA_VISIBLE_DEVICES": wanted}) == chosen


def test_torch_cuda_is_read_from_the_text_of_its_version_file():
    head = "from typing import Optional\n__version__ = '2.13.0'\ndebug = False\n"
    assert (
        gpu.parse_torch_cuda(head + "cuda: Optional[str] = None\nhip: Optional[str] = None") is None
    )
    assert gpu.parse_torch_cuda(head + "cuda: Optional[str] = '12.8'\n") == "12.8"
    assert gpu.parse_torch_cuda(head + "cuda = '13.0'\n") == "13.0"
    assert gpu.parse_torch_cuda("") is None


def test_cuda_libraries_are_read_from_their_names():
    names = ["libbitsandbytes_cpu.so", "libbitsandbytes_cuda128.so", "libbitsandbytes_cuda130.dll"]
    assert gpu.parse_cuda_libraries(names) == {"128", "130"}


def test_installed_packages_are_found_without_importing_them():
    """Oracle: the local version label of the installed wheel, such as +cpu or +cu128."""
    found = gpu.find_cuda_support()
    label = importlib.metadata.version("torch").partition("+")[2]
    assert found.is_torch_installed
    if label == "cpu":
        assert found.torch_cuda is None
    if label.startswith("cu1"):
        assert found.torch_cuda is not None
        assert found.torch_cuda.replace(".", "") == label[2:]
