"""Hidden states that are computed once and read again in every epoch: in RAM or in a file.

The file has no name: it is gone when its process is, so a killed run leaves nothing behind that
could be trusted by mistake, and a restarted run computes the states again, to the same bits. It is
read and written, not mapped: its pages do not count as memory of the process, and a full disk is an
error instead of a signal.

Letters: T tokens of a pack, S states of a token, D model width.
"""

from __future__ import annotations

import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from appliance.dataset.pack import Pack


class HiddenStore(Protocol):
    """States by pack, up to a fixed number of tokens; a pack beyond is not kept."""

    def read(self, key: bytes) -> Tensor | None:
        """States of a pack, shape (S, T, D); None if they are not here."""

    def write(self, key: bytes, states_STD: Tensor) -> None:
        """Keep the states of a pack while there is room."""

    @property
    def memory_bytes(self) -> int:
        """RAM that it takes when it is full."""

    def close(self) -> None:
        """Give memory and disk back."""


def name_pack(pack: Pack) -> bytes:
    """What tells a pack from all others: its tokens and where its examples begin."""
    digest = blake2b(pack.token_ids_T.tobytes(), digest_size=16)
    digest.update(pack.positions_T.tobytes())
    return digest.digest()


class MemoryStore:
    """States in RAM."""

    def __init__(self, num_tokens: int, token_bytes: int) -> None:
        """Room for so many tokens of so many bytes."""
        self._room = num_tokens
        self.memory_bytes = num_tokens * token_bytes
        self._states: dict[bytes, Tensor] = {}

    def read(self, key: bytes) -> Tensor | None:
        """See `HiddenStore`."""
        return self._states.get(key)

    def write(self, key: bytes, states_STD: Tensor) -> None:
        """See `HiddenStore`."""
        if key not in self._states and states_STD.shape[1] <= self._room:
            self._room -= states_STD.shape[1]
            self._states[key] = states_STD.cpu()

    def close(self) -> None:
        """See `HiddenStore`."""
        self._states.clear()


class DiskStore:
    """States in a file without a name, whose room is reserved when it is made."""

    def __init__(self, num_tokens: int, token_bytes: int, folder: Path) -> None:
        """Reserve room.

        Args:
            num_tokens: tokens that can be kept.
            token_bytes: of all states of a token.
            folder: on the disk to use.

        Raises:
            OSError: there is no room for it.
        """
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  (lives as long as this)
        self.memory_bytes = 0
        self._end, self._size = 0, num_tokens * token_bytes
        self._places: dict[bytes, tuple[int, torch.Size, torch.dtype]] = {}
        try:
            os.posix_fallocate(self._file.fileno(), 0, max(1, self._size))
        except OSError:
            self._file.close()
            raise

    def read(self, key: bytes) -> Tensor | None:
        """See `HiddenStore`."""
        if key not in self._places:
            return None
        start, shape, dtype = self._places[key]
        states_STD = torch.empty(shape, dtype=dtype)
        buffer = _view_bytes(states_STD)
        done = 0
        while done < len(buffer):  # one call reads 2 GiB at most
            count = os.preadv(self._file.fileno(), [buffer[done:]], start + done)
            if count == 0:
                raise OSError("the file of hidden states ended early")
            done += count
        return states_STD

    def write(self, key: bytes, states_STD: Tensor) -> None:
        """See `HiddenStore`."""
        states_STD = states_STD.cpu().contiguous()
        buffer = _view_bytes(states_STD)
        if key in self._places or self._end + len(buffer) > self._size:
            return
        done = 0
        while done < len(buffer):
            done += os.pwrite(self._file.fileno(), buffer[done:], self._end + done)
        self._places[key] = (self._end, states_STD.shape, states_STD.dtype)
        self._end += len(buffer)

    def close(self) -> None:
        """See `HiddenStore`."""
        self._places.clear()
        self._file.close()


def _view_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU, whatever its number format."""
    return memoryview(tensor.view(torch.uint8).reshape(-1).numpy())  # type: ignore[arg-type]
