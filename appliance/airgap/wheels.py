"""Wheels, as they come: name, version, licence. They are opened, never unpacked or run."""

from __future__ import annotations

import email.parser
import email.policy
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from appliance.errors import BundleError, UsageError

MAX_TEXT_BYTES = 2**20
"""Of a licence or of the metadata of a package."""

PROGRAM = "appliance"
"""The package without which a stick is of no use."""

_LICENCE_NAME = re.compile(r"(?i)(licen[cs]e|copying|notice|authors?|third.?party).*")
_FAULTS = (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, EOFError, OSError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A wheel.

    Attributes:
        path: of its file.
        name: of the package, normalised.
        licence: as it tells it; "" where it does not.
        licence_files: members of the wheel.
    """

    path: Path
    name: str
    version: str
    licence: str
    licence_files: tuple[str, ...]


def list_wheels(folder: Path) -> list[Wheel]:
    """All wheels of a folder, by name.

    Raises:
        UsageError: there are none, the program is not among them, or a package is there twice.
        BundleError: one is broken.
    """
    wheels = sorted(map(read_wheel, sorted(folder.glob("*.whl"))), key=lambda wheel: wheel.name)
    versions: dict[str, str] = {}
    for wheel in wheels:
        if versions.setdefault(wheel.name, wheel.version) != wheel.version:
            raise UsageError(
                f"{folder} holds two versions of {wheel.name}",
                why=f"{versions[wheel.name]} and {wheel.version}: only one can be installed",
                fix="remove one of them",
            )
    if PROGRAM not in versions:
        raise UsageError(
            f"{folder} does not hold this program",
            why=f"{len(wheels)} wheels, none of {PROGRAM}",
            fix=f"pip wheel --constraint constraints.txt --wheel-dir {folder} .",
        )
    return wheels


def read_wheel(path: Path) -> Wheel:
    """Look into a wheel.

    Raises:
        BundleError: it is no wheel, or says of itself what its name does not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (metadata,) = (
                name
                for name in archive.namelist()
                if PurePosixPath(name).match("*.dist-info/METADATA") and name.count("/") == 1
            )
            text = _read_member(archive, metadata).decode("utf-8", errors="replace")
            info = metadata.partition("/")[0] + "/"
            files = [name for name in archive.namelist() if name.startswith(info)]
    except _FAULTS as exc:
        raise BundleError(
            f"{path.name} is not a wheel",
            why=str(exc) or type(exc).__name__,
            fix="get it again, or remove it",
        ) from exc
    about = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text)
    name, version = normalise(str(about["Name"])), str(about["Version"])
    if normalise(path.name.partition("-")[0]) != name or f"-{version}-" not in path.name:
        raise BundleError(
            f"{path.name} is not what its name says",
            why=f"it holds {name} {version}",
            fix="get it again, or remove it",
        )
    return Wheel(
        path=path,
        name=name,
        version=version,
        licence=_find_licence(about.items()),
        licence_files=tuple(name for name in files if _is_licence(name)),
    )


def copy_licences(wheel: Wheel, folder: Path) -> Iterator[Path]:
    """Write the licence files of a wheel into a folder, under names of their own.

    Yields:
        Each file that was written.
    """
    with zipfile.ZipFile(wheel.path) as archive:
        for number, member in enumerate(wheel.licence_files):
            base = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(member).name)[:80]
            path = folder / f"{wheel.name}-{wheel.version}" / f"{number}-{base}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(_read_member(archive, member))
            yield path


def normalise(name: str) -> str:
    """A package's name in its one form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_licence(member: str) -> bool:
    parts = PurePosixPath(member).parts
    if member.endswith("/") or len(parts) < 2:
        return False
    return parts[1].lower() in ("licenses", "licences") or bool(_LICENCE_NAME.fullmatch(parts[-1]))


def _find_licence(fields: Iterable[tuple[str, str]]) -> str:
    """An SPDX expression where there is one; else the classifier; else the old field, if short."""
    rows = list(fields)
    for key, value in rows:
        if key.lower() == "license-expression":
            return str(value)
    classifiers = [
        str(value).rpartition(" :: ")[2]
        for key, value in rows
        if key.lower() == "classifier" and str(value).startswith("License :: ")
    ]
    if classifiers:
        return " AND ".join(classifiers)
    old = next((str(value) for key, value in rows if key.lower() == "license"), "")
    return old if len(old) <= 80 and "\n" not in old else ""


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"{name} has more than {MAX_TEXT_BYTES:,} bytes")
    return content
