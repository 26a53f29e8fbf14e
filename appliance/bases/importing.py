"""Bringing a base into a store: copied byte by byte, checked, shown, and only then given its name.

Everything happens in a hidden folder of the store. It gets its name by one rename, after every
check and after the person agreed; whatever ends the import before that leaves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.bases.archive import refuse_bomb
from appliance.bases.catalogue import Place, read_place
from appliance.bases.config import read_config, read_shape
from appliance.bases.known import KnownBase, Terms, explain_licence, find_known, list_known
from appliance.bases.manifest import (
    BaseFile,
    BaseManifest,
    OnProgress,
    ignore_progress,
    write_manifest,
)
from appliance.bases.selection import LeftOut, Selection, select_files
from appliance.bases.source import Entry, open_source
from appliance.bases.store import fold_name, lock_store, make_partial
from appliance.errors import BaseModelError, InterruptedRun, ResourceError, UsageError
from appliance.files import sync
from appliance.units import MIB, format_bytes
from appliance.values import BaseSpec

SPARE_BYTES = 64 * MIB
"""Disk that stays free after an import."""

_CHUNK_BYTES = MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A base that was copied and checked, and waits for a yes.

    Attributes:
        spec: what it is; its folder is not final.
        terms: its licence.
        left_out: files of the source that were not copied.
        num_bytes: size of those that were.
    """

    spec: BaseSpec
    terms: Terms
    left_out: tuple[LeftOut, ...]
    num_bytes: int


def add_base(
    path: Path,
    store: Path,
    agree: Callable[[Offer], bool],
    *,
    name: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> BaseManifest:
    """Import a base.

    Args:
        path: a folder, a model of a hub's cache, or a .zip, .tar or .tar.gz.
        store: to put it into.
        agree: shown what came, with its licence, before it gets its name.
        name: how people will call it; None for the known name of what it is, else the source's own.
        on_progress: takes the bytes copied, and all there are.

    Returns:
        What was taken, with hashes.

    Raises:
        BaseModelError: the source is refused, or a base of this name is there.
        UsageError: it is no name.
        ResourceError: the disk is too small, or the store cannot be written.
        BusyError: another import is under way.
        InterruptedRun: the person said no.
    """
    if name is not None:
        _refuse_taken(store, name)
    with open_source(path) as source, lock_store(store), make_partial(store, "import") as partial:
        fold_name(name or source.label)
        selection = select_files(source)
        if source.max_bytes is not None and selection.num_bytes > source.max_bytes:
            raise refuse_bomb(source.max_bytes)
        _check_disk(store, selection.num_bytes)
        files = _copy_files(selection, partial, source.max_bytes, on_progress)
        with _speaking_of(path, instead_of=partial):
            chosen = name or _choose_name(partial, source.label)
            _refuse_taken(store, chosen)
            _refuse_impostor(partial, chosen, find_known(chosen))
            spec = read_place(Place(name=chosen, folder=partial, where="store", inside=partial))
        offer = Offer(
            spec=spec,
            terms=explain_licence(spec.licence),
            left_out=selection.left_out,
            num_bytes=sum(file.num_bytes for file in files),
        )
        if not agree(offer):
            raise InterruptedRun("nothing was added", fix="run the same command again to add it")
        manifest = write_manifest(partial, chosen, spec.licence, files)
        _publish(partial, store / fold_name(chosen))
        return manifest


@contextlib.contextmanager
def _speaking_of(path: Path, *, instead_of: Path) -> Iterator[None]:
    """Let messages name what the person named, and not the hidden copy of it."""
    try:
        yield
    except BaseModelError as exc:
        parts = (text.replace(str(instead_of), str(path)) for text in (exc.what, exc.why, exc.fix))
        what, why, fix = parts
        raise BaseModelError(what, why=why, fix=fix) from exc


def _copy_files(
    selection: Selection, folder: Path, max_bytes: int | None, on_progress: OnProgress
) -> tuple[BaseFile, ...]:
    files: list[BaseFile] = []
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if max_bytes is not None and done > max_bytes:
            raise refuse_bomb(max_bytes)
        on_progress(done, selection.num_bytes)

    for name, entry in selection.taken.items():
        files.append(_copy_file(entry, folder / name, count))
    return tuple(sorted(files, key=lambda file: file.name))


def _copy_file(entry: Entry, target: Path, count: Callable[[int], None]) -> BaseFile:
    """Copy bytes, never a link, and never more than the source said."""
    digest, left = hashlib.sha256(), entry.num_bytes
    try:
        with entry.open() as source, target.open("xb") as copy:
            while chunk := source.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                copy.write(chunk)
                count(len(chunk))
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(target.parent.parent, entry.num_bytes) from exc
        raise
    if left:
        found = "more" if left < 0 else f"{left:,} bytes less"
        raise BaseModelError(
            f"{target.name} changed while it was copied",
            why=f"it has {found} than the {entry.num_bytes:,} bytes that were told",
            fix="let nothing else write to it, or copy the source again",
        )
    return BaseFile(name=target.name, num_bytes=entry.num_bytes, sha256=digest.hexdigest())


def _check_disk(store: Path, needed: int) -> None:
    if shutil.disk_usage(store).free < needed + SPARE_BYTES:
        raise _no_space(store, needed)


def _no_space(store: Path, needed: int) -> ResourceError:
    free = shutil.disk_usage(store).free
    return ResourceError(
        f"the disk of {store} is too small",
        why=f"{format_bytes(needed)} are to be copied, and {format_bytes(SPARE_BYTES)} stay free; "
        f"{format_bytes(free)} are free",
        fix="free some space, or choose another place: APPLIANCE_BASES=FOLDER",
    )


def _choose_name(folder: Path, label: str) -> str:
    """The known name of what came, if its label and its shape agree; else the label."""
    if find_known(label) is not None or "/" in label:
        return label
    for known in list_known():
        for name in (known.name, known.pretrained):
            same_label = name.rpartition("/")[2].lower() == label.lower()
            if same_label and not _find_difference(folder, known):
                return name
    return label


def _find_difference(folder: Path, known: KnownBase) -> str:
    """How a folder differs from a known base; "" for not at all."""
    config = read_config(folder)
    shape = read_shape(folder / "config.json", config)
    pairs = {
        "architecture": ((config.get("architectures") or [None])[0], known.architecture),
        "layers": (shape.num_layers, known.shape.num_layers),
        "width": (shape.width, known.shape.width),
        "intermediate width": (shape.intermediate_width, known.shape.intermediate_width),
        "query heads": (shape.num_heads, known.shape.num_heads),
        "key heads": (shape.num_kv_heads, known.shape.num_kv_heads),
    }
    for what, (found, wanted) in pairs.items():
        if found != wanted:
            return f"its {what}: {found}, not {wanted}"
    return ""


def _refuse_impostor(folder: Path, name: str, known: KnownBase | None) -> None:
    """Refuse a known name for another model: the name brings the known licence with it."""
    difference = _find_difference(folder, known) if known else ""
    if difference:
        raise BaseModelError(
            f"the source is not {name}",
            why=difference,
            fix="give it a name of its own: --name NAME",
        )


def _refuse_taken(store: Path, name: str) -> None:
    if (store / fold_name(name)).exists():
        raise UsageError(
            f"a base {name} is there already",
            why=f"it lies in {store / fold_name(name)}",
            fix=f"remove it first: appliance bases remove {name}; or give this one another name: "
            "--name NAME",
        )


def _publish(partial: Path, final: Path) -> None:
    """Make everything durable, then give it its name."""
    for path in (*sorted(partial.iterdir()), partial):
        sync(path)
    partial.rename(final)
    sync(final.parent)
