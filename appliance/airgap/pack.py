"""Filling a stick: wheels, base models and licences, with hashes and a signature.

Nothing is fetched: wheels come from a folder. What is copied is hashed on its way, in pieces; the
manifest is written last, so that a stick whose packing was killed is none.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from appliance import __version__
from appliance.airgap.room import require_empty, require_room
from appliance.airgap.stick import (
    BASES,
    LICENCE_LIST,
    LICENCES,
    README,
    REQUIREMENTS,
    WHEELS,
    BaseEntry,
    StickManifest,
    WheelEntry,
)
from appliance.airgap.wheels import Wheel, copy_licences, list_wheels
from appliance.bases.catalogue import Place, find_place
from appliance.bases.manifest import read_manifest, verify_place
from appliance.bases.store import fold_name
from appliance.bundle.attest import seal, write_statement
from appliance.bundle.entries import list_entries
from appliance.bundle.keys import load_signing_key
from appliance.bundle.manifest import ATTESTATION, MANIFEST, FileEntry
from appliance.errors import UsageError
from appliance.files import hash_file, sync, write_text
from appliance.units import MIB

BUILD_TYPE = "urn:appliance:airgap:1"

_CHUNK_BYTES = MIB

_README = """\
appliance {version} for a machine without a network. Made on {created}.

Is it whole? Compare this stick's manifest with what was printed when it was packed:
    sha256sum {manifest}

Install, where the program is not there yet (Python {python}):
    python3 -m venv /opt/appliance
    /opt/appliance/bin/pip install --no-index --require-hashes \\
        --find-links {wheels} -r {requirements}
    /opt/appliance/bin/appliance airgap verify .
    for base in {bases}/*; do /opt/appliance/bin/appliance bases add "$base"; done

Where the program is there, it does all of this, and checks who signed:
    appliance airgap install . --into /opt/appliance-new
"""

OnProgress = Callable[[int, int], None]


def pack_stick(
    folder: Path,
    wheelhouse: Path,
    bases: Sequence[str],
    keys: Path,
    *,
    max_file_bytes: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
    read_clock: Callable[[], float] = time.time,
) -> tuple[StickManifest, str]:
    """Fill a stick.

    Args:
        folder: empty, or not there.
        wheelhouse: folder of wheels, the program's own among them.
        bases: names of base models of a store.
        keys: folder of the keys; it is signed where there is one.
        max_file_bytes: longest file that the stick takes; None to look at its file system.
        on_progress: takes the bytes copied, and all there are.
        read_clock: seconds since 1970.

    Returns:
        What it holds, and the sha256 of its manifest.

    Raises:
        UsageError: the folder is not empty, or the wheelhouse lacks the program.
        ResourceError: the stick is too small, or its file system takes no files of such a length.
        BaseModelError: a base is not in a store, or was changed there.
        BundleError: a wheel is broken, or the signing key cannot be used.
    """
    key = load_signing_key(keys)
    require_empty(folder)
    wheels = list_wheels(wheelhouse)
    places = [find_base(name) for name in bases]
    copies = {f"{WHEELS}/{wheel.path.name}": wheel.path for wheel in wheels}
    for place in places:
        root = f"{BASES}/{fold_name(place.name)}"
        copies |= {f"{root}/{path.name}": path for path in sorted(place.folder.iterdir())}
    folder.mkdir(parents=True, exist_ok=True)
    require_room(folder, copies, max_file_bytes)
    entries = tuple(_copy_all(copies, folder, on_progress))
    by_path = {entry.path: entry.sha256 for entry in entries}
    listed = tuple(_list_wheel(wheel, folder, by_path) for wheel in wheels)
    stored = tuple(
        BaseEntry(
            name=place.name,
            folder=fold_name(place.name),
            licence=read_manifest(place.folder).licence,
        )
        for place in places
    )
    created = datetime.datetime.fromtimestamp(read_clock(), datetime.UTC).isoformat(
        timespec="seconds"
    )
    _write_texts(folder, listed, stored, created)
    others = list_entries(folder, without=by_path)
    manifest = StickManifest(
        product_version=__version__,
        created=created,
        wheels=listed,
        bases=stored,
        files=tuple(sorted((*entries, *others), key=lambda entry: entry.path)),
    )
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    sha256 = hash_file(folder / MANIFEST)
    provenance = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"bases": [base.name for base in stored]},
        },
        "runDetails": {
            "builder": {"id": f"urn:appliance:{__version__}"},
            "metadata": {"finishedOn": created},
        },
    }
    write_text(folder / ATTESTATION, seal(write_statement(sha256, provenance), key))
    return manifest, sha256


def find_base(name: str) -> Place:
    """A base of a store, whole and unchanged.

    Raises:
        UsageError: it lies elsewhere: nobody took its hashes.
        BaseModelError: it is not there, or was changed.
    """
    place = find_place(name)
    if place.where not in ("store", "system"):
        raise UsageError(
            f"{name} is not a base of a store",
            why="the embedded base is in the program's wheel"
            if place.where == "package"
            else "only what was imported has hashes to go by",
            fix="leave it out" if place.where == "package" else f"appliance bases add {name}",
        )
    verify_place(place)
    return place


def _copy_all(
    copies: dict[str, Path], folder: Path, on_progress: OnProgress
) -> Iterator[FileEntry]:
    total = sum(path.stat().st_size for path in copies.values())
    done = 0
    for name, source in copies.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, num_bytes = hashlib.sha256(), 0
        with source.open("rb") as reading, target.open("xb") as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                digest.update(chunk)
                writing.write(chunk)
                num_bytes += len(chunk)
                on_progress(done + num_bytes, total)
        sync(target)
        done += num_bytes
        yield FileEntry(path=name, num_bytes=num_bytes, sha256=digest.hexdigest())


def _list_wheel(wheel: Wheel, folder: Path, hashes: dict[str, str]) -> WheelEntry:
    licences = folder / LICENCES
    licences.mkdir(exist_ok=True)
    return WheelEntry(
        name=wheel.name,
        version=wheel.version,
        file=wheel.path.name,
        sha256=hashes[f"{WHEELS}/{wheel.path.name}"],
        licence=wheel.licence,
        licence_files=tuple(
            path.relative_to(licences).as_posix() for path in copy_licences(wheel, licences)
        ),
    )


def _write_texts(
    folder: Path, wheels: Sequence[WheelEntry], bases: Sequence[BaseEntry], created: str
) -> None:
    (folder / BASES).mkdir(exist_ok=True)
    write_text(folder / REQUIREMENTS, write_requirements(wheels))
    told = [(wheel.name, wheel.licence) for wheel in wheels]
    told += [(base.name, base.licence) for base in bases]
    licences = [
        {"name": name, "licence": licence or "not told by the package"} for name, licence in told
    ]
    write_text(folder / LICENCE_LIST, json.dumps(licences, indent=1) + "\n")
    tags = sorted({wheel.file.split("-")[-3] for wheel in wheels})
    readme = _README.format(
        version=__version__,
        created=created,
        manifest=MANIFEST,
        wheels=WHEELS,
        requirements=REQUIREMENTS,
        bases=BASES,
        python=" ".join(tags),
    )
    write_text(folder / README, readme)


def write_requirements(wheels: Sequence[WheelEntry]) -> str:
    """Every package, pinned, with the hashes of its wheels, as pip reads it."""
    hashes: dict[str, list[str]] = {}
    for wheel in wheels:
        hashes.setdefault(f"{wheel.name}=={wheel.version}", []).append(wheel.sha256)
    return "".join(
        f"{pin} " + " ".join(f"--hash=sha256:{each}" for each in found) + "\n"
        for pin, found in sorted(hashes.items())
    )
