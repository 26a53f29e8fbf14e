"""What torch and bitsandbytes were built for, and what that means for a card."""

import importlib.metadata

import pytest

from appliance.hardware import support

CUDA = support.CudaSupport(torch_cuda="12.8", bitsandbytes_cuda=frozenset({"126", "128"}))
CPU_ONLY = support.CudaSupport(torch_cuda=None, bitsandbytes_cuda=frozenset({"128"}))
ROCM = support.CudaSupport(torch_cuda=None, bitsandbytes_cuda=frozenset(), other="rocm")
MISSING = support.CudaSupport(
    torch_cuda=None, bitsandbytes_cuda=frozenset(), is_torch_installed=False
)


@pytest.mark.parametrize(
    ("installed", "capability", "driver_cuda", "why_not"),
    [
        (CPU_ONLY, (9, 0), 12080, "the installed torch was built for the cpu alone"),
        (ROCM, (9, 0), 12080, "the installed torch was built for amd gpus"),
        (CUDA, (6, 1), 12080, "compute capability 6.1 is below 7.5"),
        (CUDA, (9, 0), 11040, "the driver supports cuda 11.4, torch was built for cuda 12.8"),
        (
            support.CudaSupport(torch_cuda="12.9", bitsandbytes_cuda=frozenset({"126", "128"})),
            (9, 0),
            12080,
            "bitsandbytes has no library for cuda 12.9 (has: 126, 128)",
        ),
        (MISSING, (9, 0), 12080, "torch is not installed"),
    ],
)
def test_obstacle_is_named_with_a_fix(installed, capability, driver_cuda, why_not):
    finding = support.find_why_not(installed, capability, driver_cuda)

    assert finding.what.startswith(why_not)
    assert finding.fix
    assert finding.level == "error"


def test_matching_card_driver_and_packages_have_no_obstacle():
    assert support.find_why_not(CUDA, (9, 0), 12080).what == ""


HEAD = "from typing import Optional\n__version__ = '2.13.0'\ndebug = False\n"


@pytest.mark.parametrize(
    ("text", "platform", "version"),
    [
        (HEAD + "cuda: Optional[str] = None\nhip: Optional[str] = None", "cuda", None),
        (HEAD + "cuda: Optional[str] = '12.8'\n", "cuda", "12.8"),
        (HEAD + "cuda = '13.0'\n", "cuda", "13.0"),
        (HEAD + "hip: Optional[str] = '6.4.43484-123eb5128'\n", "hip", "6.4.43484-123eb5128"),
        (HEAD + "xpu: Optional[str] = '20250302'\n", "xpu", "20250302"),
        ("", "cuda", None),
    ],
)
def test_build_is_read_from_the_text_of_torchs_version_file(text, platform, version):
    assert support.parse_torch_build(text, platform) == version


def test_cuda_libraries_are_read_from_their_names():
    names = ["libbitsandbytes_cpu.so", "libbitsandbytes_cuda128.so", "libbitsandbytes_cuda130.dll"]

    assert support.parse_cuda_libraries(names) == {"128", "130"}


def test_installed_packages_are_found_without_importing_them():
    """Oracle: the local version label of the installed wheel, such as +cpu or +cu128."""
    found = support.find_cuda_support()
    label = importlib.metadata.version("torch").partition("+")[2]

    assert found.is_torch_installed
    if label == "cpu":
        assert found.build == "cpu"
    if label.startswith("cu1"):
        assert found.torch_cuda is not None
        assert found.torch_cuda.replace(".", "") == label[2:]


@pytest.mark.parametrize(
    ("installed", "build"), [(CUDA, "cuda"), (CPU_ONLY, "cpu"), (ROCM, "rocm"), (MISSING, "")]
)
def test_build_has_a_name(installed, build):
    assert installed.build == build
