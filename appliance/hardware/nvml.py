"""What NVIDIA's driver says about its cards, through its management library (NVML).

Runs in a child process, because a driver that is stuck does not come back; so it imports nothing
but NVML. Which cards can be used is decided in `gpu.py`.

Source: NVML API Reference Guide, https://docs.nvidia.com/deploy/nvml-api/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

NOT_SUPPORTED = 3
"""Value of NVML_ERROR_NOT_SUPPORTED."""

SLOWDOWNS = {
    0x08: "a fault of power or cooling",
    0x20: "heat",
    0x40: "heat",
    0x80: "the power supply",
}
"""Reasons for a lower clock that a person can mend (nvmlClocksEventReasons); idling is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A program that holds memory of a card."""

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A part of a card in MIG mode."""

    name: str
    uuid: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A card as the driver sees it; None where it does not say.

    Attributes:
        total_bytes: memory of its own; 0 where it shares the machine's, as small boards do.
        is_divided: whether the card is in MIG mode, and can be used by its slices only.
    """

    name: str
    uuid: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]
    is_divided: bool = False
    slices: tuple[Slice, ...] = ()
    holders: tuple[Holder, ...] = ()
    power_limit_watts: float | None = None
    temperature_celsius: int | None = None
    ecc_errors: int | None = None
    slowdown: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """The driver and its cards, in the order of their bus.

    Attributes:
        version: such as "580.95.05"; "" where there is none.
        cuda: newest CUDA it supports, as 1000 * major + 10 * minor; 0: unknown.
        fault: why it does not answer, in its own words; "" when it does.
        num_lost: cards that are there and do not answer.
    """

    version: str = ""
    cuda: int = 0
    cards: tuple[Card, ...] = ()
    fault: str = ""
    num_lost: int = 0


def ask_driver() -> Driver:
    """The driver of this machine."""
    try:
        import pynvml
    except ImportError:
        return Driver(fault="nvidia-ml-py is not installed")
    return read_driver(pynvml)


def read_driver(nvml: Any) -> Driver:
    """The driver and its cards.

    Args:
        nvml: the `pynvml` module, or one like it.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as exc:  # no driver, no library, no permission
        return Driver(fault=str(exc))
    try:
        cards = [_read_card(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
        return Driver(
            version=_decode(_ask(nvml, "nvmlSystemGetDriverVersion", default="")),
            cuda=_ask(nvml, "nvmlSystemGetCudaDriverVersion_v2", default=0),
            cards=tuple(card for card in cards if card is not None),
            num_lost=cards.count(None),
        )
    except nvml.NVMLError as exc:
        return Driver(fault=str(exc))
    finally:
        _ask(nvml, "nvmlShutdown", default=None)


def _read_card(nvml: Any, index: int) -> Card | None:
    handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index, default=None)
    memory = None if handle is None else _read_memory(nvml, handle)
    if memory is None:  # fallen off the bus, or not ours to ask
        return None
    is_divided = _ask(nvml, "nvmlDeviceGetMigMode", handle, default=[0, 0])[0] == 1
    power = _ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle, default=None)
    return Card(
        name=_decode(_ask(nvml, "nvmlDeviceGetName", handle, default="unknown gpu")),
        uuid=_decode(_ask(nvml, "nvmlDeviceGetUUID", handle, default="")),
        total_bytes=memory[0],
        free_bytes=memory[1],
        capability=_read_capability(nvml, handle),
        is_divided=is_divided,
        slices=_list_slices(nvml, handle) if is_divided else (),
        holders=_list_holders(nvml, handle),
        power_limit_watts=None if power is None else power / 1000,
        temperature_celsius=_read_temperature(nvml, handle),
        ecc_errors=_ask(  # uncorrected, since the driver started
            nvml, "nvmlDeviceGetTotalEccErrors", handle, 1, 0, default=None
        ),
        slowdown=_name_slowdown(
            _ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle, default=0)
        ),
    )


def _read_memory(nvml: Any, handle: Any) -> tuple[int, int] | None:
    """Total and free bytes; zeros where the memory is the machine's; None: the card is lost."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as exc:
        return (0, 0) if getattr(exc, "value", None) == NOT_SUPPORTED else None
    return int(memory.total), int(memory.free)


def _read_capability(nvml: Any, handle: Any) -> tuple[int, int]:
    major, minor = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle, default=(0, 0))
    return int(major), int(minor)


def _read_temperature(nvml: Any, handle: Any) -> int | None:
    """Degrees Celsius, by the new question or, for older drivers, by the old one."""
    new: int | None = _ask(nvml, "nvmlDeviceGetTemperatureV", handle, 0, default=None)
    old: int | None = _ask(nvml, "nvmlDeviceGetTemperature", handle, 0, default=None)
    return old if new is None else new


def _list_slices(nvml: Any, handle: Any) -> tuple[Slice, ...]:
    """Slices of a divided card; numbers without a slice are left out."""
    slices = []
    for index in range(_ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle, default=0)):
        part = _ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index, default=None)
        if part is None:
            continue
        memory = _read_memory(nvml, part)
        if memory is None:
            continue
        slices.append(
            Slice(
                name=_decode(_ask(nvml, "nvmlDeviceGetName", part, default="slice")),
                uuid=_decode(_ask(nvml, "nvmlDeviceGetUUID", part, default="")),
                total_bytes=memory[0],
                free_bytes=memory[1],
            )
        )
    return tuple(slices)


def _list_holders(nvml: Any, handle: Any) -> tuple[Holder, ...]:
    """Programs that compute or draw on a card, the largest first."""
    found: dict[int, int] = {}
    for question in (
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetGraphicsRunningProcesses",
    ):
        for process in _ask(nvml, question, handle, default=[]):
            used = process.usedGpuMemory or 0  # None inside containers, and on Windows
            found[process.pid] = max(used, found.get(process.pid, 0))
    largest_first = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Holder(pid=pid, name=_name_process(nvml, pid), used_bytes=used)
        for pid, used in largest_first
    )


def _name_process(nvml: Any, pid: int) -> str:
    """Name of a program, without its folder and arguments: those may be private."""
    words = _decode(_ask(nvml, "nvmlSystemGetProcessName", pid, default="")).split()
    return PurePath(words[0]).name if words else "unknown"


def _name_slowdown(reasons: int) -> str:
    names = dict.fromkeys(name for bit, name in SLOWDOWNS.items() if reasons & bit)
    return " and ".join(names)


def _ask(nvml: Any, question: str, *arguments: Any, default: Any) -> Any:
    """One question to the driver; what it or its library does not know gets the default."""
    try:
        return getattr(nvml, question)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return default


def _decode(text: str | bytes) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text
