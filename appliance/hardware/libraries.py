"""What the heavy libraries see: runs in a child process, because importing them takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchDevice:
    """An accelerator that torch lists."""

    kind: str
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]
    supports_bf16: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchDevices:
    """What torch can compute on besides the processor.

    Attributes:
        devices: what it lists.
        fault: why it lists none, in its own words; "" where it did not try or did not fail.
    """

    devices: tuple[TorchDevice, ...] = ()
    fault: str = ""


def list_providers() -> tuple[str, ...]:
    """Execution providers of the installed ONNX Runtime; none where it is missing or broken."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(onnxruntime.get_available_providers())


def list_torch_devices() -> TorchDevices:
    """What torch can compute on; nothing where it is missing or broken."""
    try:
        import torch
    except (ImportError, OSError) as exc:
        return TorchDevices(fault=_first_line(exc))
    return read_torch_devices(torch)


def read_torch_devices(torch: Any) -> TorchDevices:
    """What torch can compute on.

    Args:
        torch: the module, or one like it.
    """
    if torch.version.cuda or torch.version.hip:
        return _read_cuda(torch, "rocm" if torch.version.hip else "cuda")
    if getattr(torch.version, "xpu", None):
        return _read_xpu(torch)
    return TorchDevices()


def _read_cuda(torch: Any, kind: str) -> TorchDevices:
    try:
        torch.cuda.init()  # says why not; is_available() keeps it to itself
        devices = []
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            devices.append(
                TorchDevice(
                    kind=kind,
                    name=torch.cuda.get_device_name(number),
                    total_bytes=total,
                    free_bytes=free,
                    capability=torch.cuda.get_device_capability(number),
                    supports_bf16=torch.cuda.is_bf16_supported(),
                )
            )
    except (RuntimeError, AssertionError, OSError) as exc:
        return TorchDevices(fault=_first_line(exc))
    return TorchDevices(devices=tuple(devices))


def _read_xpu(torch: Any) -> TorchDevices:
    try:
        devices = []
        for number in range(torch.xpu.device_count()):
            free, total = torch.xpu.mem_get_info(number)
            devices.append(
                TorchDevice(
                    kind="xpu",
                    name=torch.xpu.get_device_name(number),
                    total_bytes=total,
                    free_bytes=free,
                    capability=(0, 0),
                    supports_bf16=True,
                )
            )
    except (RuntimeError, AssertionError, OSError) as exc:
        return TorchDevices(fault=_first_line(exc))
    return TorchDevices(devices=tuple(devices))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
