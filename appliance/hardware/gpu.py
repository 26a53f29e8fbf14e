"""GPUs, through NVIDIA's management library, and whether the installed torch can use them.

Nothing here imports torch: its version file is read as text. A machine without a driver has no
GPUs; that is never an error.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.values import Finding, Gpu

MIN_CAPABILITY = (7, 5)
"""Oldest GPUs (Turing) that current torch wheels for CUDA 12.8 and later carry kernels for."""

BF16_CAPABILITY = (8, 0)
"""First generation (Ampere) that computes in bfloat16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaSupport:
    """What the installed packages can do with a GPU.

    Attributes:
        torch_cuda: CUDA version that torch was built for, such as "12.8"; None for none.
        bitsandbytes_cuda: CUDA versions that bitsandbytes has libraries for, such as {"128"}.
        is_torch_installed: whether there is a torch at all.
    """

    torch_cuda: str | None
    bitsandbytes_cuda: frozenset[str]
    is_torch_installed: bool = True


def probe_gpus(support: CudaSupport) -> tuple[Gpu, ...]:
    """GPUs that this process may see; none where there is no driver."""
    try:
        import pynvml
    except ImportError:
        return ()
    return list_gpus(support, pynvml)


def list_gpus(support: CudaSupport, nvml: Any) -> tuple[Gpu, ...]:
    """GPUs that this process may see, in the order of their bus.

    Args:
        support: what the installed packages can do.
        nvml: the `pynvml` module, or one like it.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, no library, no permission
        return ()
    try:
        driver_cuda = _ask(nvml, "nvmlSystemGetCudaDriverVersion_v2", default=0)
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        uuids = [_decode(_ask(nvml, "nvmlDeviceGetUUID", h, default="")) for h in handles]
        chosen = choose_visible(uuids, os.environ)
        gpus = [_describe(nvml, handles[index], support, driver_cuda) for index in chosen]
        return tuple(gpu for gpu in gpus if gpu is not None)
    except nvml.NVMLError:
        return ()
    finally:
        _ask(nvml, "nvmlShutdown", default=None)


def choose_visible(uuids: list[str], environment: Mapping[str, str]) -> list[int]:
    """Numbers of the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; all without it.

    As CUDA does, it stops at the first entry that names no GPU.
    """
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.isdigit() and int(entry) < len(uuids):
            number = int(entry)
        else:
            matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
            if not matches:
                break
            number = matches[0]
        if number not in chosen:
            chosen.append(number)
    return chosen


def find_why_not(support: CudaSupport, capability: tuple[int, int], driver_cuda: int) -> Finding:
    """Why a GPU cannot be used and what mends it; an empty `what` when it can.

    Args:
        support: what the installed packages can do.
        capability: compute capability, major and minor.
        driver_cuda: newest CUDA that the driver supports, as 1000 * major + 10 * minor; 0: unknown.
    """
    if not support.is_torch_installed:
        return Finding(
            what="torch is not installed", fix="install the package with its requirements"
        )
    if support.torch_cuda is None:
        return Finding(
            what="the installed torch was built for the cpu alone",
            fix="install the cuda build of the same torch version",
        )
    if capability < MIN_CAPABILITY:
        return Finding(
            what=f"compute capability {capability[0]}.{capability[1]} is below "
            f"{MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]}, the oldest that torch has kernels for",
            fix="train on the cpu, or use a newer gpu",
        )
    if driver_cuda and driver_cuda // 1000 < int(support.torch_cuda.split(".")[0]):
        return Finding(
            what=f"the driver supports cuda {driver_cuda // 1000}.{driver_cuda % 1000 // 10}, "
            f"torch was built for cuda {support.torch_cuda}",
            fix="update the nvidia driver, or install torch for the older cuda",
        )
    if support.torch_cuda.replace(".", "") not in support.bitsandbytes_cuda:
        has = ", ".join(sorted(support.bitsandbytes_cuda)) or "none"
        return Finding(
            what=f"bitsandbytes has no library for cuda {support.torch_cuda} (has: {has})",
            fix="install a bitsandbytes version that supports the cuda of torch",
        )
    return Finding(what="", fix="")


def find_cuda_support() -> CudaSupport:
    """Read the torch and bitsandbytes packages on disk, without importing them."""
    torch, bitsandbytes = _find_package("torch"), _find_package("bitsandbytes")
    version = _read(torch / "version.py") if torch else ""
    names = [path.name for path in bitsandbytes.glob("*")] if bitsandbytes else []
    return CudaSupport(
        torch_cuda=parse_torch_cuda(version),
        bitsandbytes_cuda=parse_cuda_libraries(names),
        is_torch_installed=torch is not None,
    )


def parse_torch_cuda(text: str) -> str | None:
    """CUDA version in the text of `torch/version.py`; None for a CPU build."""
    match = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return match.group(1) if match else None


def parse_cuda_libraries(names: list[str]) -> frozenset[str]:
    """CUDA versions in the names of bitsandbytes' libraries, such as "128" for 12.8."""
    found = (re.fullmatch(r"libbitsandbytes_cuda(\d+)\.(?:so|dll)", name) for name in names)
    return frozenset(match.group(1) for match in found if match)


def _describe(nvml: Any, handle: Any, support: CudaSupport, driver_cuda: int) -> Gpu | None:
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle, default=None)
    if memory is None:  # fallen off the bus, or not ours to ask
        return None
    major, minor = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle, default=(0, 0))
    finding = find_why_not(support, (major, minor), driver_cuda)
    return Gpu(
        name=_decode(_ask(nvml, "nvmlDeviceGetName", handle, default="unknown gpu")),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        capability=f"{major}.{minor}",
        supports_bf16=(major, minor) >= BF16_CAPABILITY,
        usable=not finding.what,
        why_not=finding.what,
    )


def _ask(nvml: Any, question: str, *arguments: Any, default: Any) -> Any:
    """One question to the driver; a question it does not support gets the default."""
    try:
        return getattr(nvml, question)(*arguments)
    except nvml.NVMLError:
        return default


def _decode(text: str | bytes) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def _find_package(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec and spec.origin else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
