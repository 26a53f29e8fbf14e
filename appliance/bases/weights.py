"""Weight files, looked at without reading the weights: names, shapes and types of the tensors.

A safetensors file begins with the length of a JSON header (8 bytes, little endian), the header, and
the data. Pickle files are refused: opening one can run any program.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.bases.config import read_json
from appliance.bases.refusals import is_pickle
from appliance.errors import BaseModelError
from appliance.units import MIB, format_bytes

MAX_HEADER_BYTES = 16 * MIB
"""Longest header that is read: a hundred thousand tensors. The format itself allows 100 MB."""

MAX_INDEX_BYTES = 16 * MIB
"""Largest index of shards that is read."""

DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""Name and bytes of each type, by its code in the header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """What the header says about one tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """All tensors of a model, and the files they lie in."""

    files: tuple[Path, ...]
    tensors: dict[str, Tensor]

    @property
    def num_parameters(self) -> int:
        """Weights in all."""
        return sum(tensor.num_elements for tensor in self.tensors.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of the files."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def dtype(self) -> str:
        """Type of most weights."""
        counts: dict[str, int] = {}
        for tensor in self.tensors.values():
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.num_elements
        return max(counts, key=lambda dtype: counts[dtype], default="float32")


def read_weights(folder: Path) -> Weights:
    """Headers of a model's weight files.

    Raises:
        BaseModelError: there are none, only pickle files, or one is damaged.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return Weights(files=(single,), tensors=read_header(single))
    if index.is_file():
        return _read_shards(folder, index)
    pickles = sorted(path.name for path in folder.iterdir() if is_pickle(path.name))
    if pickles:
        raise BaseModelError(
            f"{folder} has its weights in pickle files only",
            why=f"{pickles[0]} can run any program when it is opened",
            fix="get the model as safetensors, or convert it on a machine you can lose",
        )
    raise BaseModelError(
        f"{folder} has no weights",
        why="neither model.safetensors nor model.safetensors.index.json is there",
        fix="copy the whole model folder, with all of its .safetensors files",
    )


def read_header(path: Path) -> dict[str, Tensor]:
    """Names, shapes and types of the tensors of one file.

    Raises:
        BaseModelError: the file is cut short, or is not safetensors.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise _damaged(path, f"its header would take {length} bytes of {size}")
        text = file.read(length)
    try:
        rows = json.loads(text, object_pairs_hook=_refuse_twice)
        rows.pop("__metadata__", None)
        tensors = {name: _parse_tensor(row) for name, row in rows.items()}
        places = sorted(_parse_place(row) for row in rows.values())
        end = places[-1][1]
    except _TwiceError as exc:
        raise _damaged(path, f"its header names {exc.name!r} twice") from exc
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as exc:
        raise _damaged(path, "its header does not describe tensors") from exc
    if 8 + length + end != size:
        wanted = format_bytes(8 + length + end)
        raise _damaged(path, f"its header describes {wanted}, the file has {format_bytes(size)}")
    _check_places(path, places)
    return tensors


class _TwiceError(ValueError):
    """A key stands twice in one object."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name[:80]


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return body


def _parse_tensor(row: dict[str, Any]) -> Tensor:
    name, width = DTYPES[row["dtype"]]
    if any(type(n) is not int or n < 0 for n in row["shape"]):
        raise ValueError("a side is no whole number")
    tensor = Tensor(shape=tuple(row["shape"]), dtype=name)
    begin, end = _parse_place(row)
    if end - begin != tensor.num_elements * width:
        raise ValueError("shape and bytes do not agree")
    return tensor


def _parse_place(row: dict[str, Any]) -> tuple[int, int]:
    begin, end = row["data_offsets"]
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise ValueError("an offset is no place in the file")
    return begin, end


def _check_places(path: Path, places: list[tuple[int, int]]) -> None:
    """Refuse tensors that share bytes, and bytes that belong to none: the format has neither."""
    reached = 0
    for begin, end in places:
        if begin != reached:
            kind = "overlap" if begin < reached else "leave a gap"
            raise _damaged(path, f"its tensors {kind} at byte {min(begin, reached)} of the data")
        reached = end


def _read_shards(folder: Path, index: Path) -> Weights:
    places = _read_places(index)
    names = sorted(set(places.values()))
    tensors: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise _damaged(index, f"it names {name[:80]!r}, which is no file of this folder")
        if not (folder / name).is_file():
            raise _damaged(index, f"its file {name} is missing")
        found = read_header(folder / name)
        for tensor in found:
            if places.get(tensor, name) != name or tensor in tensors:
                raise _damaged(index, f"tensor {tensor[:80]} lies in more than one file")
        tensors |= found
    missing = sorted(set(places) - set(tensors))
    if missing:
        raise _damaged(index, f"tensor {missing[0]} is in none of its {len(names)} files")
    return Weights(files=tuple(folder / name for name in names), tensors=tensors)


def _read_places(index: Path) -> dict[str, str]:
    places = read_json(index, MAX_INDEX_BYTES).get("weight_map")
    if (
        not isinstance(places, dict)
        or not places
        or not all(isinstance(name, str) for name in places.values())
    ):
        raise _damaged(index, "it has no map of tensors to files")
    return places


def _damaged(path: Path, why: str) -> BaseModelError:
    return BaseModelError(
        f"{path} is damaged", why=why, fix="copy the file again and compare its checksum"
    )
