"""Installing from a stick, on a machine without a network: a fresh environment, and the bases."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from appliance.airgap.stick import BASES, REQUIREMENTS, WHEELS, StickManifest
from appliance.airgap.verify import verify_stick
from appliance.bases.importing import add_base
from appliance.bases.store import list_stored
from appliance.errors import BundleError, ResourceError, UsageError
from appliance.offline import OFFLINE


def install_stick(
    folder: Path, into: Path, keys: Path, store: Path, *, must_be_signed: bool
) -> tuple[StickManifest, tuple[str, ...]]:
    """Install a stick that was verified just before.

    Args:
        folder: of the stick.
        into: a new folder, for a virtual environment; if anything fails, it is removed again.
        keys: folder of the keys.
        store: gets the bases that it does not have.
        must_be_signed: refuse a stick that no trusted key signed.

    Returns:
        What the stick holds, and the bases that were added.

    Raises:
        UsageError: the folder is there already.
        BundleError: the stick is not what was packed.
        ResourceError: the environment cannot be made, or the wheels do not fit this machine.
        BaseModelError: a base is refused.
    """
    if os.path.lexists(into):
        raise UsageError(
            f"{into} is there already",
            why="what runs from it would be changed under it",
            fix="name a new folder, and switch to it afterwards",
        )
    manifest, _ = verify_stick(folder, keys, must_be_signed=must_be_signed)
    try:
        _make_environment(folder, into)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return manifest, tuple(_add_bases(folder, manifest, store))


def _make_environment(folder: Path, into: Path) -> None:
    """With the pip of this environment, for setting up another takes longer than all the rest."""
    python, wheels = str(into / "bin" / "python"), str((folder / WHEELS).absolute())
    if importlib.util.find_spec("pip") is not None:
        make, pip = ["--without-pip"], [sys.executable, "-I", "-m", "pip", "--python", python]
    else:  # as where a stick was installed
        make, pip = [], [python, "-I", "-m", "pip"]
    _run([sys.executable, "-I", "-m", "venv", *make, str(into)], "the environment cannot be made")
    pip = [*pip, "--isolated", "install"]
    options = ["--no-index", "--find-links", wheels, "--require-hashes", "--only-binary", ":all:"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    requirements = ["-r", str((folder / REQUIREMENTS).absolute())]
    _run([*pip, *quiet, *options, *requirements], "the wheels cannot be installed")


def _run(command: list[str], what: str) -> None:
    """Run a program with nothing of ours in its environment that could send it elsewhere."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        command, capture_output=True, text=True, env=kept | OFFLINE, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        version = ".".join(map(str, sys.version_info[:2]))
        raise ResourceError(
            what,
            why=lines[-1] if lines else f"it ended with {done.returncode}",
            fix=f"use the Python that the wheels are for (this is {version}; see README.txt of "
            "the stick), and a disk with room for them",
        )


def _add_bases(folder: Path, manifest: StickManifest, store: Path) -> list[str]:
    """Import bases, and hold what arrived against the stick's hashes."""
    present = {base.name for base in list_stored(store)}
    hashes = {entry.path: entry.sha256 for entry in manifest.files}
    added = []
    for base in manifest.bases:
        if base.name in present:
            continue
        source = f"{BASES}/{base.folder}"
        taken = add_base(folder / source, store, lambda offer: True, name=base.name)
        for file in taken.files:
            if hashes.get(f"{source}/{file.name}") != file.sha256:
                raise BundleError(
                    f"{base.name} changed while it was copied",
                    why=f"{file.name} is not what the manifest of the stick says",
                    fix=f"appliance bases remove {base.name}, and take another stick",
                )
        added.append(base.name)
    return added
