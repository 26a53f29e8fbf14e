"""One answer in the making: what was asked, what has come so far, and why it ended.

Knows nothing of other answers, of the cache or of threads; `scheduler.py` feeds it logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from appliance.serving.decoder import Logits
from appliance.serving.guidance import Guide
from appliance.serving.sampling import Sampler, Sampling, TokenScore, score_token
from appliance.serving.text import StopFinder, TextStream, is_looping

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from appliance.serving.citing import Citation

StopReason = Literal[
    "end", "stop", "length", "context", "loop", "time", "cancelled", "grammar", "fault"
]
"""Why an answer ended: by itself, at a stop string, at `max_tokens`, at the end of the context, in
a loop, out of time, because nobody waits for it any more, because its grammar needs too much, or
because the model could not go on."""

PIECE_SECONDS = 0.02
"""Shortest time between two pieces of text: faster than anybody reads. On a small model it spares
the server most of its work, which would take turns with the model's on the same cores."""

_LOOP_CHECK_TOKENS = 16
"""An answer is held against itself every so many tokens; it costs 0.04 ms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is asked of a model.

    Attributes:
        prompt_ids: what it reads; at least one token.
        room: positions that the context leaves for the answer; at least one.
        max_tokens: of the answer.
        sampling: how tokens are chosen.
        stops: strings that end the answer and do not belong to it.
        num_top: how many of the most likely tokens are told with each token; None for no scores.
        guide: grammar that the answer keeps to.
        ends_loops: whether an answer that repeats itself is ended.
        owner: whose it is; what the cache still holds is reused for the same owner alone.
        max_seconds: from the submission to the end.
        citations: passages in the prompt; None where no document was searched.
    """

    prompt_ids: tuple[int, ...]
    room: int
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    num_top: int | None = None
    guide: Guide | None = None
    ends_loops: bool = False
    owner: str = ""
    max_seconds: float = float("inf")
    citations: tuple[Citation, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How an answer ended.

    Attributes:
        num_prompt: tokens of the prompt.
        num_cached: those of them that the cache still held.
        num_tokens: of the answer, without the token that ends it.
        wait_seconds: from the submission until the prompt began to be read.
        first_seconds: from the submission to the first token; None if none came.
        seconds: from the submission to the end.
    """

    reason: StopReason
    num_prompt: int
    num_cached: int
    num_tokens: int
    wait_seconds: float
    first_seconds: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of an answer; the last one says how it ended."""

    text: str
    scores: tuple[TokenScore, ...] = ()
    end: End | None = None


class Answer:
    """An answer in the making.

    Attributes:
        task: what was asked.
        is_unwanted: set by whoever no longer waits for it, from any thread.
        num_cached: tokens of the prompt that the cache still held.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        eos_ids: frozenset[int],
        deliver: Callable[[Piece], None],
    ) -> None:
        """Begin without a token.

        Args:
            task: what is asked.
            tokenizer: of the model.
            eos_ids: tokens that end an answer.
            deliver: takes the pieces, on the thread that steps the model.
        """
        self.task = task
        self.is_unwanted = False
        self.num_cached = 0
        self._eos_ids = eos_ids
        self._deliver = deliver
        self._sampler = Sampler(task.sampling)
        self._stream = TextStream(tokenizer)
        self._stops = StopFinder(task.stops)
        self._token_ids: list[int] = []
        self._unread: list[int] = []
        self._text = ""
        self._scores: list[TokenScore] = []
        self._submitted = time.monotonic()
        self._started: float | None = None
        self._first: float | None = None
        self._delivered = 0.0
        self._is_over = False

    @property
    def num_tokens(self) -> int:
        """That have come so far."""
        return len(self._token_ids)

    @property
    def seconds(self) -> float:
        """Since the submission."""
        return time.monotonic() - self._submitted

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return self.seconds > self.task.max_seconds

    def start(self, num_cached: int) -> None:
        """The prompt begins to be read."""
        self._started = time.monotonic()
        self.num_cached = num_cached

    def take(self, logits_V: Logits) -> int | None:
        """Choose the next token.

        Returns:
            The token that the model reads next, or None: the answer has ended.
        """
        guide = self.task.guide
        allowed_V = guide.allow() if guide else None
        if guide is not None and allowed_V is not None and not allowed_V.any():
            self.end("grammar" if guide.is_broken else "end")
            return None
        token = self._sampler.choose(logits_V, allowed_V)
        self._first = self._first or time.monotonic()
        if token in self._eos_ids:
            self.end("end")
            return None
        self._token_ids.append(token)
        if self.task.num_top is not None:
            self._scores.append(score_token(logits_V, token, self.task.num_top))
        self._unread.append(token)
        if self.task.stops:
            self._write()
        reason = self._find_reason(token)
        if reason is not None:
            self.end(reason)
            return None
        if time.monotonic() - self._delivered >= PIECE_SECONDS:
            self._write()
            self._send()
        return token

    def end(self, reason: StopReason) -> None:
        """Deliver what is left, and the reason; only the first one counts."""
        if self._is_over:
            return
        self._is_over = True
        now = time.monotonic()
        self._write()
        self._text += self._stops.finish()
        started = now if self._started is None else self._started
        self._send(
            End(
                reason=reason,
                num_prompt=len(self.task.prompt_ids),
                num_cached=self.num_cached,
                num_tokens=self.num_tokens,
                wait_seconds=started - self._submitted,
                first_seconds=None if self._first is None else self._first - self._submitted,
                seconds=now - self._submitted,
            )
        )

    def _find_reason(self, token: int) -> StopReason | None:
        """Whether the answer ends after this token."""
        if self._stops.found:
            return "stop"
        guide = self.task.guide
        if guide is not None and guide.take(token):
            return "grammar" if guide.is_broken else "end"
        if self.num_tokens >= self.task.room:
            return "context"
        if self.num_tokens >= self.task.max_tokens:
            return "length"
        is_checked = self.task.ends_loops and self.num_tokens % _LOOP_CHECK_TOKENS == 0
        return "loop" if is_checked and is_looping(self._token_ids) else None

    def _write(self) -> None:
        """Make text of the tokens that have come; many at once cost as much as one."""
        self._text += self._stops.add(self._stream.add(self._unread))
        self._unread.clear()

    def _send(self, end: End | None = None) -> None:
        if self._text or self._scores or end is not None:
            self._deliver(Piece(text=self._text, scores=tuple(self._scores), end=end))
            self._text, self._scores = "", []
            self._delivered = time.monotonic()
