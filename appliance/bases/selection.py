"""Which entries of a source are the model, and which source is refused before a byte is copied.

Formats are the boundary: only the files that belong to a model are taken, by their names. Anything
that could lead elsewhere or run is a reason to refuse the whole source, taken or not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from appliance.bases.refusals import MAX_TEXT_BYTES, is_pickle
from appliance.bases.source import Entry, Source
from appliance.bases.weights import MAX_INDEX_BYTES
from appliance.errors import BaseModelError
from appliance.units import format_bytes

_SHARD = re.compile(r"model-[A-Za-z0-9_-]{1,64}\.safetensors")
_SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Which file holds which tensor, where there are several."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A file that is not copied, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What an import takes from a source.

    Attributes:
        taken: file name in the model's folder → entry.
        left_out: what is not taken.
    """

    taken: dict[str, Entry]
    left_out: tuple[LeftOut, ...]

    @property
    def num_bytes(self) -> int:
        """Size of what is taken, as the source claims it."""
        return sum(entry.num_bytes for entry in self.taken.values())


def select_files(source: Source) -> Selection:
    """Choose the files of the one model in a source.

    Raises:
        BaseModelError: a name leads elsewhere or stands twice, an entry is a link or a device, code
            lies in it, there is no model or more than one, its weights are pickled, or a file is
            larger than one of its name can be.
    """
    for entry in source.entries:
        _refuse_name(entry.name)
        _refuse_kind(entry)
        if entry.name.lower().endswith(".py"):
            raise _refuse(
                "brings its own code",
                f"{entry.name!r} lies in it; code of a model folder is never run",
                "use a model whose architecture is part of transformers; if this one is, "
                "delete the code and the key that names it",
            )
    files = {PurePosixPath(entry.name): entry for entry in source.entries if entry.kind == "file"}
    if len(files) != sum(entry.kind == "file" for entry in source.entries):
        raise _refuse(
            "names a file twice",
            "which of the two is the model's cannot be told",
            "pack it again, or bring the folder itself",
        )
    root = _find_root(files)
    taken, left_out = _divide(root, files)
    _refuse_sizes(taken)
    left_out.sort(key=lambda row: row.name)
    return Selection(taken=taken, left_out=tuple(left_out))


def _divide(
    root: PurePosixPath, files: dict[PurePosixPath, Entry]
) -> tuple[dict[str, Entry], list[LeftOut]]:
    has_single = root / _SINGLE in files
    has_weights = has_single or any(
        path.parent == root and _is_sharded(path.name) for path in files
    )
    taken: dict[str, Entry] = {}
    left_out: list[LeftOut] = []
    for path, entry in files.items():  # in the order of the archive: it is read once
        name = path.name
        if path.parent != root:
            left_out.append(LeftOut(name=entry.name, reason="it lies in another folder"))
        elif name == _SINGLE or (not has_single and _is_sharded(name)) or name in MAX_TEXT_BYTES:
            taken[name] = entry
        elif is_pickle(name):
            if not has_weights:
                raise _refuse(
                    "has its weights in pickle files only",
                    f"{name!r} can run any program when it is opened",
                    "get the model as safetensors, or convert it on a machine you can lose",
                )
            reason = "a pickle can run any program; the safetensors beside it are taken"
            left_out.append(LeftOut(name=entry.name, reason=reason))
        else:
            left_out.append(LeftOut(name=entry.name, reason="it is not needed"))
    return taken, left_out


def _is_sharded(name: str) -> bool:
    return name == INDEX or _SHARD.fullmatch(name) is not None


def _find_root(files: dict[PurePosixPath, Entry]) -> PurePosixPath:
    """The folder of the one model: that of the config.json that lies highest."""
    roots = sorted({path.parent for path in files if path.name == "config.json"}, key=_depth)
    if not roots:
        raise _refuse(
            "holds no model",
            "there is no config.json in it",
            "name the folder that holds config.json, tokenizer.json and *.safetensors",
        )
    if len(roots) > 1 and _depth(roots[0]) == _depth(roots[1]):
        raise _refuse(
            "holds more than one model",
            f"there is a config.json in {str(roots[0])!r} and in {str(roots[1])!r}",
            "name the folder of one of them",
        )
    return roots[0]


def _depth(path: PurePosixPath) -> int:
    return len(path.parts)


def _refuse_name(name: str) -> None:
    parts = name.removesuffix("/").split("/")
    is_plain = all(part not in ("", ".", "..") and len(part) <= 255 for part in parts)
    if parts[0] == "." and len(parts) > 1:  # as `tar -C folder .` writes them
        is_plain = all(part not in ("", ".", "..") and len(part) <= 255 for part in parts[1:])
    if name.rstrip("/") == ".":
        return
    printable = name.isprintable() and "\\" not in name and not _DRIVE.match(name)
    if not is_plain or not printable:
        raise _refuse(
            "names a file that leads elsewhere",
            f"{name[:120]!a} is absolute, climbs out, or is no plain name",
            "do not use it: it was not made by packing a model",
        )


def _refuse_kind(entry: Entry) -> None:
    if entry.kind in ("file", "folder"):
        return
    article = "an" if entry.kind.startswith("e") else "a"
    raise _refuse(
        f"holds {article} {entry.kind}",
        f"{entry.name!a} is no plain file; what it stands for could be anything",
        "bring the files themselves: cp -rL FOLDER COPY follows links when it copies",
    )


def _refuse_sizes(taken: dict[str, Entry]) -> None:
    for name, entry in taken.items():
        limit = MAX_INDEX_BYTES if name == INDEX else MAX_TEXT_BYTES.get(name)
        if limit is not None and entry.num_bytes > limit:
            raise _refuse(
                f"holds a {name} that is too large",
                f"it has {format_bytes(entry.num_bytes)}; a file of this name has "
                f"{format_bytes(limit)} at most",
                "copy the model again from where it was published",
            )


def _refuse(what: str, why: str, fix: str) -> BaseModelError:
    return BaseModelError(f"the source {what}", why=why, fix=fix)
