"""A graph with a cache of several rows: reads prompts, and steps many rows in one run.

Every row holds a conversation of its own length. The graph's attention takes the length of a row
from the attention mask, so rows of different lengths go through in one run without padding, and a
row can be cut back to any earlier length at no cost: what lies behind its length is not read.

Letters: B rows that step, T tokens of a prompt, W width of the mask, L positions of a row, H key
heads, K head width, V vocabulary.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from appliance.serving.graph import Graph

Logits = npt.NDArray[np.float32]

MASK_STEP = 64
"""Masks are made in multiples of this width, so that inputs are bound anew only seldom."""


class Decoder(Protocol):
    """A model with a cache of rows. Calls come from one thread at a time."""

    @property
    def num_rows(self) -> int:
        """Conversations that fit."""

    @property
    def length(self) -> int:
        """Positions of a row."""

    def read(self, row: int, token_ids: Sequence[int], start: int) -> Logits:
        """Read a piece of a prompt into a row that already holds `start` tokens.

        Returns:
            Logits (V,) after the last of these tokens; valid until the next call.
        """

    def step(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        """Read one token into each of the first rows.

        Args:
            token_ids: the token of rows 0, 1, …
            lengths: tokens that each row holds already.

        Returns:
            Logits (B, V); valid until the next call.
        """

    def swap(self, one: int, other: int, num_one: int, num_other: int) -> None:
        """Exchange two rows; only so many tokens of each are kept."""

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Give a row the first tokens of another."""


class SharedDecoder:
    """For graphs whose past and present are one buffer: all rows step in one run."""

    def __init__(self, graph: Graph, num_rows: int, length: int) -> None:
        """Reserve the cache; memory is taken only as rows fill.

        Args:
            graph: the opened graph.
            num_rows: conversations that fit.
            length: positions of a row.
        """
        self.num_rows = num_rows
        self.length = length
        self._session = graph.session
        self._layout = graph.layout
        self._gives_last = graph.gives_last
        self._wants_positions = _wants_positions(graph)
        self._caches = _make_caches(graph, num_rows, length)
        (head,) = (entry for entry in graph.session.get_outputs() if entry.name == "logits")
        self._logits = np.zeros((num_rows, 1, graph.layout.vocab_size), _choose(head))
        self._bindings: dict[tuple[int, int], Any] = {}
        self._inputs: dict[str, npt.NDArray[np.int64]] = {}
        self._bound: tuple[int, int] | None = None
        self._columns = np.arange(0)[None]

    def read(self, row: int, token_ids: Sequence[int], start: int) -> Logits:
        """See `Decoder`."""
        ids = np.array([token_ids], dtype=np.int64)
        mask = np.ones((1, start + len(token_ids)), dtype=np.int64)
        positions = np.arange(start, start + len(token_ids), dtype=np.int64)[None]
        binding = self._bind(row, 1)
        self._feed(binding, {"input_ids": ids, "attention_mask": mask, "position_ids": positions})
        self._bound = None
        logits_1TV = self._logits[row : row + 1]
        if not self._gives_last:
            logits_1TV = np.empty((1, len(token_ids), self._logits.shape[-1]), self._logits.dtype)
            _place(binding.bind_output, "logits", logits_1TV)
        self._session.run_with_iobinding(binding)
        if not self._gives_last:
            _place(binding.bind_output, "logits", self._logits[row : row + 1])
        last: Logits = logits_1TV[0, -1].astype(np.float32, copy=False)
        return last

    def step(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        """See `Decoder`."""
        num_rows = len(token_ids)
        width = min(-(-(max(lengths) + 1) // MASK_STEP) * MASK_STEP, self.length)
        binding = self._bind(0, num_rows)
        if self._bound != (num_rows, width):
            self._feed(
                binding,
                {
                    "input_ids": np.empty((num_rows, 1), np.int64),
                    "attention_mask": np.empty((num_rows, width), np.int64),
                    "position_ids": np.empty((num_rows, 1), np.int64),
                },
            )
            self._bound = (num_rows, width)
            self._columns = np.arange(width)[None]
        lengths_B1 = np.array(lengths, dtype=np.int64)[:, None]
        self._inputs["input_ids"][:, 0] = token_ids
        self._inputs["position_ids"][:] = lengths_B1
        np.copyto(self._inputs["attention_mask"], self._columns <= lengths_B1)
        self._session.run_with_iobinding(binding)
        return self._logits[:num_rows, 0].astype(np.float32, copy=False)

    def swap(self, one: int, other: int, num_one: int, num_other: int) -> None:
        """See `Decoder`."""
        for cache in self._caches:
            kept = cache[one, :, :num_one].copy()
            cache[one, :, :num_other] = cache[other, :, :num_other]
            cache[other, :, :num_one] = kept

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """See `Decoder`."""
        for cache in self._caches:
            cache[target, :, :num_tokens] = cache[source, :, :num_tokens]

    def _bind(self, first: int, count: int) -> Any:
        """What of the cache and the logits belongs to some rows; made once for each choice."""
        key = (first, count)
        if key not in self._bindings:
            binding = self._session.io_binding()
            names = zip(self._layout.past_names, self._layout.present_names, strict=True)
            for (past, present), cache in zip(names, self._caches, strict=True):
                rows = cache[first : first + count]
                _place(binding.bind_input, past, rows)
                _place(binding.bind_output, present, rows)
            _place(binding.bind_output, "logits", self._logits[first : first + count])
            self._bindings[key] = binding
        return self._bindings[key]

    def _feed(self, binding: Any, inputs: dict[str, npt.NDArray[np.int64]]) -> None:
        """Bind inputs and keep them alive: the binding holds addresses only."""
        self._inputs = inputs
        for name, array in inputs.items():
            if name != "position_ids" or self._wants_positions:
                _place(binding.bind_input, name, array)


class GrowingDecoder:
    """For graphs that give the cache back longer than they took it: rows step one by one."""

    def __init__(self, graph: Graph, num_rows: int, length: int) -> None:
        """Start with empty rows; arguments as for `SharedDecoder`."""
        self.num_rows = num_rows
        self.length = length
        self._session = graph.session
        self._layout = graph.layout
        self._wants_positions = _wants_positions(graph)
        empty = _make_caches(graph, 1, 0)
        self._rows = [list(empty) for _ in range(num_rows)]

    def read(self, row: int, token_ids: Sequence[int], start: int) -> Logits:
        """See `Decoder`."""
        end = start + len(token_ids)
        feeds: dict[str, Any] = {
            "input_ids": np.array([token_ids], dtype=np.int64),
            "attention_mask": np.ones((1, end), dtype=np.int64),
        }
        if self._wants_positions:
            feeds["position_ids"] = np.arange(start, end, dtype=np.int64)[None]
        past = (cache[:, :, :start] for cache in self._rows[row])
        feeds |= zip(self._layout.past_names, past, strict=True)
        wanted = ["logits", *self._layout.present_names]
        logits_1TV, *self._rows[row] = self._session.run(wanted, feeds)
        last: Logits = logits_1TV[0, -1].astype(np.float32, copy=False)
        return last

    def step(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        """See `Decoder`."""
        rows = enumerate(zip(token_ids, lengths, strict=True))
        return np.stack([self.read(row, [token], length) for row, (token, length) in rows])

    def swap(self, one: int, other: int, num_one: int, num_other: int) -> None:
        """See `Decoder`; nothing is moved but names."""
        self._rows[one], self._rows[other] = self._rows[other], self._rows[one]

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """See `Decoder`; arrays are never written to, so two rows may hold the same."""
        self._rows[target] = [cache[:, :, :num_tokens] for cache in self._rows[source]]


def make_decoder(graph: Graph, num_rows: int, length: int) -> Decoder:
    """The decoder that fits a graph."""
    kind = SharedDecoder if graph.layout.is_shared else GrowingDecoder
    return kind(graph, num_rows, length)


def count_position_bytes(graph: Graph) -> int:
    """Memory of one position of one row of the cache."""
    return sum(cache.nbytes for cache in _make_caches(graph, 1, 1))


def _make_caches(graph: Graph, num_rows: int, length: int) -> list[npt.NDArray[Any]]:
    """Keys and values of every layer, (B, H, L, K)."""
    inputs = {entry.name: entry for entry in graph.session.get_inputs()}
    entries = [inputs[name] for name in graph.layout.past_names]
    width = graph.layout.head_width
    return [
        _reserve((num_rows, int(entry.shape[1]), length, width), _choose(entry))
        for entry in entries
    ]


def _reserve(shape: tuple[int, ...], kind: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Zeros that take memory only where they are written, in small pages.

    numpy asks for huge pages. Every head of every row lies in another one, so a few tokens would
    take all of the cache: 48 MiB for 1.6 MiB of content, and 6 s until eight rows had begun on a
    model of 112 M parameters (2026-11-23, a virtual machine of two cores).
    """
    num_bytes = math.prod(shape) * np.dtype(kind).itemsize
    if num_bytes == 0:
        return np.zeros(shape, kind)
    memory = mmap.mmap(-1, num_bytes)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, kind).reshape(shape)


def _wants_positions(graph: Graph) -> bool:
    return any(entry.name == "position_ids" for entry in graph.session.get_inputs())


def _choose(entry: Any) -> type[np.floating[Any]]:
    """The number format of an input or output."""
    return np.float16 if entry.type == "tensor(float16)" else np.float32


def _place(bind: Any, name: str, array: npt.NDArray[Any]) -> None:
    """Bind an array by its address."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
