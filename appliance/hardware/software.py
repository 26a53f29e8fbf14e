"""Versions of what a job stands on, and what is known to be wrong with them."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sqlite3
from collections.abc import Mapping

from appliance.hardware.support import CudaSupport
from appliance.values import Finding, Software

PACKAGES = {
    "torch": ("torch",),
    "transformers": ("transformers",),
    "peft": ("peft",),
    "bitsandbytes": ("bitsandbytes",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-genai": ("onnxruntime-genai", "onnxruntime-genai-cuda"),
    "safetensors": ("safetensors",),
    "tokenizers": ("tokenizers",),
    "numpy": ("numpy",),
}
"""Packages, and the names under which they are published."""

TELEMETRY_VERSION = (1, 29)
"""ONNX Runtime looks up a telemetry host on Linux from this version on.

Source: name look-ups were watched with 1.32, November 2026; onnxruntime pull request 27379.
"""

SQLITE_FIXED: dict[tuple[int, ...], tuple[int, ...]] = {
    (3, 44): (3, 44, 6),
    (3, 50): (3, 50, 7),
    (3, 51): (3, 51, 3),
}
"""First versions of each line without the WAL-reset bug; every later line is sound.

Source: https://sqlite.org/wal.html, section "The WAL-Reset Bug".
"""


def read_software(support: CudaSupport, providers: tuple[str, ...] = ()) -> Software:
    """What is installed.

    Args:
        support: what torch and bitsandbytes were built for.
        providers: execution providers of ONNX Runtime, where they were asked for.
    """
    versions = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
    }
    found = {name: find_version(*published) for name, published in PACKAGES.items()}
    return Software(
        versions=versions | {name: version for name, version in found.items() if version},
        torch_build=support.build,
        providers=providers,
    )


def find_version(*names: str) -> str:
    """Version of the first of these packages that is installed; "" for none."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def find_software_faults(
    software: Software, environment: Mapping[str, str] | None
) -> list[Finding]:
    """What is wrong with the installed software.

    Args:
        software: that is installed.
        environment: in which this program was started, before it silenced its libraries; None
            where that is unknown.
    """
    findings = []
    missing = [name for name in PACKAGES if name not in software.versions]
    if missing:
        what = f"not installed: {', '.join(missing)}"
        fix = "install the package with its requirements"
        findings.append(Finding(what=what, fix=fix, level="error"))
    sqlite = software.versions.get("sqlite", "")
    if sqlite and not is_sqlite_sound(parse_version(sqlite)):
        findings.append(
            Finding(
                what=f"sqlite {sqlite} has the wal-reset bug: a database that two processes "
                "write to at the same moment can, very rarely, be damaged",
                fix="use a python with sqlite 3.51.3 or later; the queue of the service has one "
                "writer, which keeps the bug away",
            )
        )
    runtime = software.versions.get("onnxruntime", "")
    is_watched = parse_version(runtime) >= TELEMETRY_VERSION if runtime else False
    if environment is not None and is_watched and not environment.get("ORT_DISABLE_TELEMETRY"):
        findings.append(
            Finding(
                what=f"onnxruntime {runtime} reports its use to its maker unless it is told not "
                "to; this program tells it, others in this environment do not",
                fix="export ORT_DISABLE_TELEMETRY=1, best in /etc/environment",
                level="note",
            )
        )
    return findings


def is_sqlite_sound(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug."""
    return version >= SQLITE_FIXED.get(version[:2], (3, 52, 0))


def parse_version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13, 0) of "2.13.0+cpu"."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
