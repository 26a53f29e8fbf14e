"""What the libraries see. Oracle: the libraries here, and stand-ins for makes that are not here."""

from types import SimpleNamespace

import onnxruntime
import pytest

from appliance.hardware.ask import Answer, asking
from appliance.hardware.libraries import TorchDevices, read_torch_devices
from appliance.hardware.probe import complete, parse_libraries
from appliance.units import GIB
from tests.planning.machines import make_gpu, make_hardware


def make_torch(*, cuda=None, hip=None, xpu=None, fault=None):
    def init():
        if fault:
            raise RuntimeError(fault + "\nmore lines")

    device = SimpleNamespace(
        init=init,
        device_count=lambda: 1,
        mem_get_info=lambda number: (10 * GIB, 12 * GIB),
        get_device_name=lambda number: "Accelerator",
        get_device_capability=lambda number: (9, 4),
        is_bf16_supported=lambda: True,
    )
    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda, hip=hip, xpu=xpu), cuda=device, xpu=device
    )


@pytest.mark.parametrize(
    ("build", "kind"), [({"cuda": "12.8"}, "cuda"), ({"hip": "6.4"}, "rocm"), ({"xpu": "1"}, "xpu")]
)
def test_devices_of_every_make_are_listed(build, kind):
    (device,) = read_torch_devices(make_torch(**build)).devices

    assert (device.kind, device.name, device.free_bytes) == (kind, "Accelerator", 10 * GIB)


def test_build_for_the_processor_lists_nothing():
    assert read_torch_devices(make_torch()) == TorchDevices()


def test_reason_of_torch_is_kept_in_one_line():
    found = read_torch_devices(make_torch(cuda="12.8", fault="CUDA unknown error"))

    assert found == TorchDevices(fault="CUDA unknown error")


def test_libraries_answer_from_a_child():
    with asking("libraries", 60, {"devices": True}) as asked:
        providers, seen, fault = parse_libraries(asked.read())

    assert fault == ""
    assert list(providers) == onnxruntime.get_available_providers()
    assert not any(device.kind in ("rocm", "xpu") for device in seen.devices)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"torch": {"devices": 1}}'])
def test_unreadable_answer_is_a_fault(text):
    assert parse_libraries(Answer(text=text)) == ((), TorchDevices(), "their answer cannot be read")


def test_gpu_of_another_make_is_shown_and_not_used():
    seen = read_torch_devices(make_torch(hip="6.4"))

    found = complete(make_hardware(), (), seen, "", None, None)

    assert found.gpus[0].kind == "rocm" and not found.gpus[0].usable
    assert found.findings[0].what == (
        "Accelerator cannot be used: this version trains on nvidia gpus and on processors"
    )


def test_card_that_torch_does_not_see_is_an_error():
    found = complete(make_hardware(gpus=(make_gpu(20),)), (), TorchDevices(), "", None, None)

    assert found.findings[0].what == "torch does not see the gpu: it lists none"


def test_silent_libraries_are_an_error_and_nothing_is_concluded_from_it():
    fault = "its process ended with signal 11"

    found = complete(make_hardware(gpus=(make_gpu(20),)), (), TorchDevices(), fault, None, None)

    assert [finding.what for finding in found.findings if finding.level == "error"] == [
        "the installed libraries do not answer: its process ended with signal 11"
    ]
