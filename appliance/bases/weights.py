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

from appliance.errors import BaseModelError
from appliance.units import format_bytes

MAX_HEADER_BYTES = 100_000_000
"""Limit of the format itself.

Source: https://github.com/huggingface/safetensors, "Format", size limit of the header.
"""

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

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


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
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
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
        header = json.loads(text)
        tensors = {n: _parse_tensor(row) for n, row in header.items() if n != "__metadata__"}
        end = max((row["data_offsets"][1] for n, row in header.items() if n != "__metadata__"))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as exc:
        raise _damaged(path, "its header does not describe tensors") from exc
    if 8 + length + end != size:
        wanted = format_bytes(8 + length + end)
        raise _damaged(path, f"its header describes {wanted}, the file has {format_bytes(size)}")
    return tensors


def _parse_tensor(row: dict[str, Any]) -> Tensor:
    name, width = DTYPES[row["dtype"]]
    tensor = Tensor(shape=tuple(int(n) for n in row["shape"]), dtype=name)
    begin, end = row["data_offsets"]
    if end - begin != tensor.num_elements * width:
        raise ValueError("shape and bytes do not agree")
    return tensor


def _read_shards(folder: Path, index: Path) -> Weights:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _damaged(index, "it has no map of tensors to files") from exc
    tensors: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise _damaged(index, f"it names {name!r}, which is no file of this folder")
        if not (folder / name).is_file():
            raise _damaged(index, f"its file {name} is missing")
        tensors |= read_header(folder / name)
    missing = sorted(set(places) - set(tensors))
    if missing:
        raise _damaged(index, f"tensor {missing[0]} is in none of its {len(names)} files")
    return Weights(files=tuple(folder / name for name in names), tensors=tensors)


def _damaged(path: Path, why: str) -> BaseModelError:
    return BaseModelError(
        f"{path} is damaged", why=why, fix="copy the file again and compare its checksum"
    )
