"""Models in the local cache of a hub client: found and read, never written, never downloaded.

The cache keeps a model as `models--ORG--NAME/{refs,blobs,snapshots}`. A snapshot holds links to
blobs, whose names are hashes: sha256 of large files, git's sha1 of small ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from appliance.bases.config import read_json
from appliance.bases.refusals import refuse_links
from appliance.errors import BaseModelError

_MODEL = "models--"


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedBase:
    """A model in the cache.

    Attributes:
        name: on the hub.
        folder: its snapshot.
        inside: the cache's folder; links lead no further.
    """

    name: str
    folder: Path
    inside: Path


def locate_cache() -> Path:
    """Folder of the cache: $HF_HUB_CACHE, $HF_HOME/hub, else hub in the user's cache folder.

    Source: https://huggingface.co/docs/huggingface_hub, "Environment variables".
    """
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "huggingface" / "hub"


def list_cached(cache: Path) -> list[CachedBase]:
    """Causal language models of a cache, by name; whatever else lies there is none of ours."""
    try:
        folders = sorted(path for path in cache.iterdir() if path.name.startswith(_MODEL))
    except OSError:
        return []
    found = (find_snapshot(folder) for folder in folders)
    return [base for base in found if base is not None and _is_causal(base)]


def find_snapshot(folder: Path) -> CachedBase | None:
    """The snapshot that a folder of a cache is or holds.

    Args:
        folder: `models--ORG--NAME`, or one of its snapshots.

    Returns:
        For a model the snapshot that its main reference names, else the latest; None where the
        folder is no part of a cache or has no snapshot.
    """
    folder = folder.absolute()
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(_MODEL):
        return _describe(folder.parent.parent, folder)
    if not folder.name.startswith(_MODEL):
        return None
    try:
        revision = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        revision = ""
    try:
        snapshots = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
    except OSError:
        return None
    named = [path for path in snapshots if path.name == revision]
    latest = sorted(snapshots, key=lambda path: (path.stat().st_mtime, path.name))
    chosen = (named or latest[-1:])[:1]
    return _describe(folder, chosen[0]) if chosen else None


def _describe(model: Path, snapshot: Path) -> CachedBase:
    name = model.name.removeprefix(_MODEL).replace("--", "/")
    return CachedBase(name=name, folder=snapshot, inside=model.parent)


def _is_causal(base: CachedBase) -> bool:
    """Whether it is a model of ours; one that cannot be told is, so that its fault gets said."""
    if not (base.folder / "config.json").exists():
        return False
    try:
        refuse_links(base.folder, base.inside)
        named = read_json(base.folder / "config.json").get("architectures")
    except BaseModelError:
        return True
    return isinstance(named, list) and any(str(name).endswith("ForCausalLM") for name in named)
