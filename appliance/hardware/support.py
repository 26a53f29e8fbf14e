"""What the installed torch and bitsandbytes were built for, read from their files.

Neither is imported: that would take seconds, and a broken one would end the process.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.values import Finding

MIN_CAPABILITY = (7, 5)
"""Oldest GPUs (Turing) that current torch wheels for CUDA 12.8 and later carry kernels for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaSupport:
    """What the installed packages can do with a GPU.

    Attributes:
        torch_cuda: CUDA version that torch was built for, such as "12.8"; None for none.
        bitsandbytes_cuda: CUDA versions that bitsandbytes has libraries for, such as {"128"}.
        is_torch_installed: whether there is a torch at all.
        other: what else torch was built for: AMD's or Intel's GPUs; "" for nothing.
    """

    torch_cuda: str | None
    bitsandbytes_cuda: frozenset[str]
    is_torch_installed: bool = True
    other: Literal["rocm", "xpu", ""] = ""

    @property
    def build(self) -> Literal["cpu", "cuda", "rocm", "xpu", ""]:
        """What torch was built for; "" where it is missing."""
        if not self.is_torch_installed:
            return ""
        return "cuda" if self.torch_cuda else self.other or "cpu"


def find_cuda_support() -> CudaSupport:
    """Read the torch and bitsandbytes packages on disk, without importing them."""
    torch, bitsandbytes = _find_package("torch"), _find_package("bitsandbytes")
    version = _read(torch / "version.py") if torch else ""
    names = [path.name for path in bitsandbytes.glob("*")] if bitsandbytes else []
    return CudaSupport(
        torch_cuda=parse_torch_build(version, "cuda"),
        bitsandbytes_cuda=parse_cuda_libraries(names),
        is_torch_installed=torch is not None,
        other="rocm"
        if parse_torch_build(version, "hip")
        else "xpu"
        if parse_torch_build(version, "xpu")
        else "",
    )


def parse_torch_build(text: str, platform: str) -> str | None:
    """Version of a platform ("cuda", "hip", "xpu") that torch was built for.

    Args:
        text: of `torch/version.py`.
        platform: name of the variable.

    Returns:
        Such as "12.8"; None where it was not built for it.
    """
    pattern = rf"^{platform}\s*(?::[^=]*)?=\s*['\"](\w[\w.\-+]*)['\"]"
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else None


def parse_cuda_libraries(names: list[str]) -> frozenset[str]:
    """CUDA versions in the names of bitsandbytes' libraries, such as "128" for 12.8."""
    found = (re.fullmatch(r"libbitsandbytes_cuda(\d+)\.(?:so|dll)", name) for name in names)
    return frozenset(match.group(1) for match in found if match)


def find_why_not(support: CudaSupport, capability: tuple[int, int], driver_cuda: int) -> Finding:
    """Why a card cannot be used and what mends it; an empty `what` when it can.

    Args:
        support: what the installed packages can do.
        capability: compute capability, major and minor.
        driver_cuda: newest CUDA that the driver supports, as 1000 * major + 10 * minor; 0: unknown.
    """
    if not support.is_torch_installed:
        return _refuse("torch is not installed", "install the package with its requirements")
    if support.torch_cuda is None:
        built_for = {"": "the cpu alone", "rocm": "amd gpus", "xpu": "intel gpus"}[support.other]
        return _refuse(
            f"the installed torch was built for {built_for}",
            "install the cuda build of the same torch version",
        )
    if capability < MIN_CAPABILITY:
        return _refuse(
            f"compute capability {capability[0]}.{capability[1]} is below "
            f"{MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]}, the oldest that torch has kernels for",
            "train on the cpu, or use a newer gpu",
        )
    if driver_cuda and driver_cuda // 1000 < int(support.torch_cuda.split(".")[0]):
        return _refuse(
            f"the driver supports cuda {driver_cuda // 1000}.{driver_cuda % 1000 // 10}, "
            f"torch was built for cuda {support.torch_cuda}",
            "update the nvidia driver, or install torch for the older cuda",
        )
    if support.torch_cuda.replace(".", "") not in support.bitsandbytes_cuda:
        has = ", ".join(sorted(support.bitsandbytes_cuda)) or "none"
        return _refuse(
            f"bitsandbytes has no library for cuda {support.torch_cuda} (has: {has})",
            "install a bitsandbytes version that supports the cuda of torch",
        )
    return _refuse("", "")


def _refuse(what: str, fix: str) -> Finding:
    return Finding(what=what, fix=fix, level="error")


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
