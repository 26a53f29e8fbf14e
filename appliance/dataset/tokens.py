"""Token files: the training examples of one split, memory-mapped.

A split is a folder of three files: `tokens.bin` (ids), `supervised.bin` (one byte a token: 1 where
the token is a label) and `examples.npy` (one row an example). Batches are made from it by
`pack.py` and `windows.py`; which text becomes an example is decided in `examples.py` and `text.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from appliance.values import ExampleOrigin

PASSAGE = 0
"""Kind of an example: plain text; all but what is repeated from elsewhere is a label."""

ANSWER = 1
"""Kind of an example: a conversation, in which the answers are labels."""


ROWS = "rows.bin"
"""Rows of examples while text comes in; they become `examples.npy` at the end."""

ROW = np.dtype("<i8")
"""Type of a number in the table of examples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One training example.

    Attributes:
        token_ids: what the model reads.
        supervised: which of the tokens are labels.
        document: number of what it came from: a document, or one of many records in a file. Units
            are what a split keeps together and what a bootstrap resamples.
        kind: PASSAGE or ANSWER.
        num_bytes: UTF-8 bytes of the supervised text, for bits per byte.
        origin: where it comes from, if that is kept.
    """

    token_ids: Sequence[int]
    supervised: Sequence[bool]
    document: int
    kind: int = PASSAGE
    num_bytes: int = 0
    origin: ExampleOrigin | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """A split on disk.

    Attributes:
        tokens_N: all token ids, uint16 or uint32, memory-mapped.
        supervised_N: 1 where the token counts in the loss, uint8, memory-mapped.
        examples_E5: int64 rows of (start, length, document, kind, num_bytes).
    """

    tokens_N: npt.NDArray[np.unsignedinteger]
    supervised_N: npt.NDArray[np.uint8]
    examples_E5: npt.NDArray[np.int64]

    @property
    def lengths_E(self) -> npt.NDArray[np.int64]:
        """Tokens of every example."""
        return self.examples_E5[:, 1]

    @property
    def num_tokens(self) -> int:
        """Tokens of the split, counted once per example."""
        return int(self.lengths_E.sum())

    def count_labels(self) -> npt.NDArray[np.int64]:
        """Tokens of every example that count in the loss (its first token never does)."""
        return np.array(
            [
                int(self.supervised_N[start + 1 : start + length].sum())
                for start, length, *_ in self.examples_E5
            ],
            dtype=np.int64,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """How much a split holds.

    Attributes:
        num_tokens: of all examples.
        num_labels: tokens that count in the loss (the first of an example never does).
        num_examples: rows.
        num_bytes: UTF-8 bytes of the supervised text.
    """

    num_tokens: int = 0
    num_labels: int = 0
    num_examples: int = 0
    num_bytes: int = 0


class SplitWriter:
    """A split that grows at its end, in bounded memory; what was committed is never lost."""

    def __init__(self, folder: Path, vocab_size: int, marks: Marks | None = None) -> None:
        """Open a split for writing.

        Args:
            folder: made if it is not there.
            vocab_size: tokens in the vocabulary; decides the width of an id.
            marks: what was committed before; the rest of the files is cut off.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.marks = marks or Marks()
        self._folder = folder
        self._dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
        sizes = {
            "tokens.bin": self.marks.num_tokens * self._dtype.itemsize,
            "supervised.bin": self.marks.num_tokens,
            ROWS: self.marks.num_examples * ROW.itemsize * 5,
        }
        self._files = [open_at(folder / name, size) for name, size in sizes.items()]

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def append(self, example: Example) -> None:
        """Add an example at the end."""
        ids = np.asarray(example.token_ids, dtype=self._dtype)
        supervised = np.asarray(example.supervised, dtype=np.uint8)
        row = (self.marks.num_tokens, len(ids), example.document, example.kind, example.num_bytes)
        tokens, labels, rows = self._files
        tokens.write(ids.tobytes())
        labels.write(supervised.tobytes())
        rows.write(np.array(row, dtype=ROW).tobytes())
        self.marks = Marks(
            num_tokens=self.marks.num_tokens + len(ids),
            num_labels=self.marks.num_labels + int(supervised[1:].sum()),
            num_examples=self.marks.num_examples + 1,
            num_bytes=self.marks.num_bytes + example.num_bytes,
        )

    def commit(self) -> Marks:
        """Put what was added on the disk.

        Returns:
            Marks to open the split with again.
        """
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        return self.marks

    def finish(self) -> TokenFile:
        """Close the split and open it for reading; its rows stay until `drop_rows`."""
        self.commit()
        for file in self._files:
            file.close()
        header = {"descr": ROW.str, "fortran_order": False, "shape": (self.marks.num_examples, 5)}
        with (
            (self._folder / "examples.npy").open("wb") as table,
            (self._folder / ROWS).open("rb") as rows,
        ):
            np.lib.format.write_array_header_1_0(table, header)
            shutil.copyfileobj(rows, table)
        return open_token_file(self._folder)

    def drop_rows(self) -> None:
        """Remove what only a writer that goes on would need."""
        (self._folder / ROWS).unlink()


def write_token_file(folder: Path, examples: Iterable[Example], vocab_size: int) -> TokenFile:
    """Write examples as a split.

    Args:
        folder: a folder that does not exist yet, or is empty.
        examples: in the order they shall have in the file.
        vocab_size: tokens in the vocabulary; decides the width of an id.

    Returns:
        The split, opened.
    """
    with SplitWriter(folder, vocab_size) as writer:
        for example in examples:
            writer.append(example)
        split = writer.finish()
        writer.drop_rows()
    return split


def open_token_file(folder: Path) -> TokenFile:
    """Open a split that a `SplitWriter` wrote, without reading it into memory.

    Raises:
        ValueError: the three files do not belong together.
    """
    supervised_N = _map(folder / "supervised.bin", np.dtype(np.uint8))
    num_bytes = (folder / "tokens.bin").stat().st_size
    width = num_bytes // max(1, supervised_N.shape[0])
    if width * supervised_N.shape[0] != num_bytes or (num_bytes and width not in (2, 4)):
        raise ValueError(f"{folder}: tokens.bin and supervised.bin differ in length")
    tokens_N = _map(folder / "tokens.bin", np.dtype(np.uint16 if width == 2 else np.uint32))
    return TokenFile(
        tokens_N=tokens_N,
        supervised_N=supervised_N,
        examples_E5=_load_table(folder / "examples.npy"),
    )


def _load_table(path: Path) -> npt.NDArray[np.int64]:
    """The rows of a split, left on the disk until they are looked at."""
    try:
        table_E5: npt.NDArray[np.int64] = np.load(path, allow_pickle=False, mmap_mode="r")
    except ValueError:  # no row: an empty file cannot be mapped
        table_E5 = np.load(path, allow_pickle=False)
    return table_E5


def _map(path: Path, dtype: np.dtype[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")


def open_at(path: Path, size: int) -> BinaryIO:
    """Open a file for writing behind its first bytes; the rest is cut off."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file
