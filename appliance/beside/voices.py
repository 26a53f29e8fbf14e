"""Models that answer beside each other, a piece at a time, each on a clock of its own.

The tuned model speaks through the engine that serves it (`serving/`); its base has no exported
graph, so torch runs it from its own checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from appliance.errors import ResourceError, UsageError
from appliance.hardware.memory import probe_memory
from appliance.serving.prompts import PromptRefusal, PromptWriter
from appliance.serving.text import TextStream, is_looping
from appliance.units import format_bytes
from appliance.values import BaseSpec, Turn

if TYPE_CHECKING:
    from appliance.serving.engine import Engine

_LOOP_CHECK_TOKENS = 16
"""Tokens between two looks for a loop."""

_FP32_BYTES = 4
_NF4_BYTES = 0.7
"""Per parameter, with the scales and what is never quantized, on a base of average shape."""

_WORK_BYTES = 2**30
"""Beside the weights: torch itself, activations and the cache of one conversation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """How an answer ended.

    Attributes:
        reason: as `serving.answer.StopReason`.
        first_seconds: of this model's own time, until its first token; None without one.
    """

    reason: str
    num_tokens: int
    first_seconds: float | None


class Voice(Protocol):
    """A model that can be asked."""

    def say(self, turns: Sequence[Turn], max_tokens: int) -> Generator[str, None, Told]:
        """Answer a conversation, piece by piece, the most likely token every time."""

    def close(self) -> None:
        """Let go of what it holds."""


class TunedVoice:
    """The model of a bundle."""

    def __init__(self, engine: Engine) -> None:
        """Speak through an engine."""
        self.engine = engine

    def say(self, turns: Sequence[Turn], max_tokens: int) -> Generator[str, None, Told]:
        """Answer a conversation, piece by piece, the most likely token every time."""
        end = yield from self.engine.stream_reply(turns, max_tokens)
        return Told(reason=end.reason, num_tokens=end.num_tokens, first_seconds=end.first_seconds)

    def close(self) -> None:
        """End the engine."""
        self.engine.close()


class BaseVoice:
    """The base model as it was before, run by torch."""

    def __init__(self, spec: BaseSpec) -> None:
        """Load it: as it is where that fits the free memory, else in 4 bit.

        Raises:
            ResourceError: it fits in neither.
            BaseModelError: it cannot be loaded.
        """
        quantized = choose_quantized(spec, probe_memory().free_bytes)
        from appliance.dataset.tokenizer import load_tokenizer
        from appliance.tuning.load import load_base

        folder = Path(spec.folder)
        self._tokenizer = load_tokenizer(folder)
        self._writer = PromptWriter(folder, self._tokenizer)
        self._context = spec.context
        model = load_base(folder, quantized=quantized, device="cpu", compute_dtype="float32")
        self._model = model.eval()
        self._ends = _find_ends(model.generation_config, self._tokenizer.chat.token_to_id(
            self._tokenizer.eos_token) if self._tokenizer.eos_token else None)  # fmt: skip

    def say(self, turns: Sequence[Turn], max_tokens: int) -> Generator[str, None, Told]:
        """Answer a conversation, piece by piece, the most likely token every time.

        Raises:
            UsageError: the conversation leaves no room, or its template refuses it.
        """
        import torch

        began = time.monotonic()
        unread = self._encode(turns)
        room = min(max_tokens, self._context - len(unread))
        stream, said = TextStream(self._tokenizer.chat), list[int]()
        cache: Any = None
        first: float | None = None
        while True:
            with torch.inference_mode():
                out = self._model(
                    torch.tensor([unread]), past_key_values=cache, use_cache=True, logits_to_keep=1
                )
            cache, token = out.past_key_values, int(out.logits[0, -1].argmax())
            first = first or time.monotonic() - began
            if token in self._ends:
                return Told(reason="end", num_tokens=len(said), first_seconds=first)
            said.append(token)
            unread = [token]
            yield stream.add(unread)
            if len(said) >= room:
                reason = "length" if room == max_tokens else "context"
                return Told(reason=reason, num_tokens=len(said), first_seconds=first)
            if len(said) % _LOOP_CHECK_TOKENS == 0 and is_looping(said):
                return Told(reason="loop", num_tokens=len(said), first_seconds=first)

    def close(self) -> None:
        """End the process that renders templates."""
        self._writer.close()

    def _encode(self, turns: Sequence[Turn]) -> list[int]:
        try:
            text = self._writer.write(turns)
        except PromptRefusal as exc:
            raise UsageError(
                "the base cannot be asked", why=str(exc), fix="ask the tuned model alone"
            ) from exc
        ids = list(self._tokenizer.chat.encode(text, add_special_tokens=False).ids)
        if len(ids) >= self._context:
            raise UsageError(
                f"the question has {len(ids):,} tokens, too many for the base",
                why=f"question and answer have to fit into its context of {self._context:,}",
                fix="shorten the question",
            )
        return ids


def choose_quantized(spec: BaseSpec, free_bytes: int) -> bool:
    """Whether a base has to be held in 4 bit to fit.

    Raises:
        ResourceError: it does not fit even so.
    """
    for quantized, each in ((False, _FP32_BYTES), (True, _NF4_BYTES)):
        if spec.num_parameters * each + _WORK_BYTES <= free_bytes:
            return quantized
    needed = int(spec.num_parameters * _NF4_BYTES) + _WORK_BYTES
    raise ResourceError(
        f"the base needs {format_bytes(needed)} to answer, {format_bytes(free_bytes)} are free",
        why="it runs from its own checkpoint, in 4 bit at the least",
        fix="wait until other work has ended; the tuned model answers meanwhile",
    )


def _find_ends(config: Any, eos_id: int | None) -> frozenset[int]:
    """Tokens that end an answer of a base."""
    told = getattr(config, "eos_token_id", None)
    ids = told if isinstance(told, list) else [told]
    return frozenset(token for token in (*ids, eos_id) if token is not None)


class Talk:
    """One answer in the making, and the time that its own model spent on it.

    Several talks take turns on the same cores: what one waits for another is not counted, so that
    its speed is that of its model.
    """

    def __init__(self, stream: Generator[str, None, Told], handicap: float = 0.0) -> None:
        """Begin.

        Args:
            stream: of the answer.
            handicap: seconds that the others had before; it does not catch up on them.
        """
        self._stream = stream
        self.own_seconds = 0.0
        self.turn = handicap
        self.told: Told | None = None

    def advance(self) -> str:
        """The next piece; "" with the last one, when `told` says how it ended."""
        began = time.monotonic()
        try:
            return next(self._stream)
        except StopIteration as done:
            self.told = done.value
            return ""
        finally:
            spent = time.monotonic() - began
            self.own_seconds += spent
            self.turn += spent

    def close(self) -> None:
        """Stop where it is."""
        self._stream.close()

    def count_speed(self) -> float:
        """Tokens per second of the model's own time, from the first one on; 0 before the end."""
        if self.told is None or self.told.first_seconds is None or self.told.num_tokens < 2:
            return 0.0
        return (self.told.num_tokens - 1) / max(self.own_seconds - self.told.first_seconds, 1e-9)
