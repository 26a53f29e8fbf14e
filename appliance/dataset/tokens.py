"""Token files: the training examples of one split, memory-mapped.

A split is a folder of three files: `tokens.bin` (ids), `supervised.bin` (one byte a token: 1 where
the token is a label) and `examples.npy` (one row an example). Batches are made from it by
`pack.py`; which text becomes an example is decided in `examples.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

PASSAGE = 0
"""Kind of an example: plain text; all but what is repeated from elsewhere is a label."""

ANSWER = 1
"""Kind of an example: a conversation, in which the answers are labels."""


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
    """

    token_ids: Sequence[int]
    supervised: Sequence[bool]
    document: int
    kind: int = PASSAGE
    num_bytes: int = 0


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


def write_token_file(folder: Path, examples: Iterable[Example], vocab_size: int) -> TokenFile:
    """Write examples as a split.

    Args:
        folder: a folder that does not exist yet, or is empty.
        examples: in the order they shall have in the file.
        vocab_size: tokens in the vocabulary; decides the width of an id.

    Returns:
        The split, opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
    rows: list[tuple[int, int, int, int, int]] = []
    start = 0
    with (folder / "tokens.bin").open("wb") as ids, (folder / "supervised.bin").open("wb") as mask:
        for example in examples:
            ids.write(np.asarray(example.token_ids, dtype=dtype).tobytes())
            mask.write(np.asarray(example.supervised, dtype=np.uint8).tobytes())
            length = len(example.token_ids)
            rows.append((start, length, example.document, example.kind, example.num_bytes))
            start += length
    np.save(folder / "examples.npy", np.array(rows, dtype=np.int64).reshape(-1, 5))
    return open_token_file(folder)


def open_token_file(folder: Path) -> TokenFile:
    """Open a split that `write_token_file` wrote, without reading it into memory.

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
        examples_E5=np.load(folder / "examples.npy", allow_pickle=False),
    )


def _map(path: Path, dtype: np.dtype[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")
