"""A hub cache as its client writes it: blobs named by their hashes, snapshots of links to them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.bases.model_folder import write_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


def write_cached(cache: Path, name: str, revision: str = REVISION, **changes) -> Path:
    """A model in the cache, with its main reference; returns the snapshot."""
    model = cache / f"models--{name.replace('/', '--')}"
    source = write_model(model / "made", **changes)
    snapshot = model / "snapshots" / revision
    for folder in (snapshot, model / "blobs", model / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            blob = hashlib.sha256(data).hexdigest()
        else:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        file.rename(model / "blobs" / blob)
        (snapshot / file.name).unlink(missing_ok=True)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob}")
    source.rmdir()
    (model / "refs" / "main").write_text(revision)
    return snapshot
