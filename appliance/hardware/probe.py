"""What this machine is: one measurement of GPUs, processor, memory and disk, and what to mend."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from appliance.hardware import findings
from appliance.hardware.ask import Answer, asking
from appliance.hardware.cpu import probe_cpu
from appliance.hardware.gpu import list_gpus, parse_driver
from appliance.hardware.libraries import TorchDevice, TorchDevices
from appliance.hardware.limits import find_low_limits, read_limits
from appliance.hardware.memory import measure_disk_free, probe_memory
from appliance.hardware.nvml import Driver
from appliance.hardware.presence import count_nvidia_cards, has_nvidia
from appliance.hardware.software import find_software_faults, read_software
from appliance.hardware.support import find_cuda_support
from appliance.values import Finding, Gpu, Hardware, MeasuredRates

DRIVER_SECONDS = 5.0
"""For the driver's answers; it needs a tenth of that, or a second to wake up idle cards."""

LIBRARIES_SECONDS = 30.0
"""For importing torch and starting CUDA, from a cold disk."""

_TORCH = TypeAdapter(TorchDevices)


def probe(runs_folder: Path) -> Hardware:
    """Measure the machine; takes about a third of a second, most of it to measure a speed.

    Args:
        runs_folder: where runs are written; need not exist yet.

    Returns:
        What is there now, and what should be mended.
    """
    driver = ask_driver() if has_nvidia() else Driver()
    support = find_cuda_support()
    memory = probe_memory()
    disk_free = measure_disk_free(runs_folder)
    limits = read_limits()
    gpus = list_gpus(driver, support, os.environ, memory)
    found = findings.explain_gpus(gpus, driver.num_lost)
    if not gpus:
        found.append(findings.explain_missing_gpu(driver, count_nvidia_cards()))
    found += findings.explain_memory(memory)
    found += findings.explain_disk(disk_free)
    found += find_low_limits(limits, memory.total_bytes)
    return Hardware(
        gpus=gpus,
        cpu=probe_cpu(),
        memory_bytes=memory.free_bytes,
        memory_total_bytes=memory.total_bytes,
        disk_free_bytes=disk_free,
        swap_total_bytes=memory.swap_total_bytes,
        swap_free_bytes=memory.swap_free_bytes,
        limits=limits,
        software=read_software(support),
        findings=tuple(found),
    )


def ask_driver() -> Driver:
    """What NVIDIA's driver says, or that it does not answer within its time."""
    with asking("gpus", DRIVER_SECONDS) as asked:
        return parse_driver(asked.read())


def inspect(runs_folder: Path, rates: MeasuredRates | None) -> Hardware:
    """Measure the machine and ask the installed libraries; takes a second, or as long as torch.

    Torch is asked only where it could answer something new: where there is a GPU, or a build for
    GPUs of another make.

    Args:
        runs_folder: where runs are written; need not exist yet.
        rates: what was measured on this machine before; None for nothing.
    """
    hardware = probe(runs_folder)
    build = hardware.software.torch_build if hardware.software else ""
    ask_torch = any(gpu.usable for gpu in hardware.gpus) or build in ("rocm", "xpu")
    with asking("libraries", LIBRARIES_SECONDS, {"devices": ask_torch}) as asked:
        providers, seen, fault = parse_libraries(asked.read())
    return complete(hardware, providers, seen, fault, rates, read_start_environment())


def complete(
    hardware: Hardware,
    providers: tuple[str, ...],
    seen: TorchDevices,
    fault: str,
    rates: MeasuredRates | None,
    environment: Mapping[str, str] | None,
) -> Hardware:
    """The machine with what the libraries said.

    Args:
        hardware: as probed.
        providers: execution providers of ONNX Runtime.
        seen: by torch.
        fault: why the libraries did not answer; "" when they did.
        rates: what was measured before.
        environment: in which this program was started.
    """
    others = tuple(_describe(device) for device in seen.devices if device.kind != "cuda")
    software = hardware.software
    if software is not None:
        software = software.model_copy(update={"providers": providers})
    found = list(hardware.findings)
    if fault:
        what = f"the installed libraries do not answer: {fault}"
        found.append(Finding(what=what, fix="install them again", level="error"))
    elif any(gpu.usable for gpu in hardware.gpus):
        found += findings.explain_torch(hardware.gpus, seen)
    found += findings.explain_gpus(others, 0)
    found += find_software_faults(software, environment) if software else []
    found += findings.explain_bf16(hardware.cpu, rates)
    found += findings.explain_slow_disk(rates)
    found += findings.explain_disturbance(rates)
    return hardware.model_copy(
        update={
            "gpus": hardware.gpus + others,
            "software": software,
            "findings": sort_findings(found),
        }
    )


def parse_libraries(answer: Answer) -> tuple[tuple[str, ...], TorchDevices, str]:
    """Providers, what torch sees, and why there is no answer."""
    try:
        body = json.loads(answer.text) if not answer.fault else {}
        seen = _TORCH.validate_python(body["torch"]) if body.get("torch") else TorchDevices()
        return tuple(body.get("providers", ())), seen, answer.fault
    except (ValueError, AttributeError):
        return (), TorchDevices(), "their answer cannot be read"


def sort_findings(found: list[Finding]) -> tuple[Finding, ...]:
    """The worst first; of the same level, in the order in which they were found."""
    return tuple(sorted(found, key=lambda each: ("error", "warning", "note").index(each.level)))


def read_start_environment(system: Path = Path("/")) -> dict[str, str] | None:
    """The environment in which this process was started; None where the system does not keep it.

    `os.environ` would not do: this program has silenced its libraries there already.
    """
    try:
        text = (system / "proc/self/environ").read_bytes().decode(errors="replace")
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {key: value for key, _, value in pairs}


def _describe(device: TorchDevice) -> Gpu:
    """A GPU of another make: it is shown, but this version does not train on it."""
    return Gpu(
        name=device.name,
        kind="rocm" if device.kind == "rocm" else "xpu",
        total_bytes=device.total_bytes,
        free_bytes=device.free_bytes,
        capability=f"{device.capability[0]}.{device.capability[1]}",
        supports_bf16=device.supports_bf16,
        usable=False,
        why_not="this version trains on nvidia gpus and on processors",
        fix="train on the cpu: it needs nothing more",
    )
