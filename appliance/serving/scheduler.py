"""Many answers of one model at once: who reads a prompt, and who gets the next token.

Every call of `advance` reads one piece of one prompt and gives one token to every answer that is
under way. So a newcomer begins at the next token of the others, never at their end, and they wait
for a piece of its prompt, never for all of it. Measured in docs/decisions/0012.

The rows that step are the first ones of the cache, because the graph runs over neighbours. What a
row has read stays in it when its answer has ended: the next turn of that conversation, or another
prompt with the same beginning, is read from where it differs.

An answer depends on nothing but its request: not on who else is served, and not on what the cache
held. A graph gives the same bits in a batch of any size, and for a prompt in pieces of any size but
one: a single token takes another way through attention, and so does every token of an answer. So
no piece is a single token, and of an answer nothing is reused; the next turn reads it as a prompt.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.serving.answer import Answer, StopReason
from appliance.serving.decoder import Decoder

READ_TOKENS = 64
"""Tokens of a prompt that are read before the others get their next token. Smaller pieces cost
speed only below 32; larger ones make the others wait longer."""

_MEAN_WEIGHT = 0.2
"""Weight of the newest answer in the mean of their seconds."""


class QueueFull(Exception):  # noqa: N818  (a state, not a fault)
    """As many answers wait as may."""

    def __init__(self, retry_seconds: int) -> None:
        """Tell when it is worth asking again."""
        super().__init__(retry_seconds)
        self.retry_seconds = retry_seconds


@dataclass(kw_only=True, slots=True, eq=False)
class _Row:
    """A row of the cache.

    Attributes:
        token_ids: what it holds.
        num_read: tokens of it that were read as a prompt, and may be reused.
        owner: whose that is.
        answer: the one that uses it; None when it is free.
        token: what its answer reads next; None while its prompt is being read.
        num_passed: pieces of other prompts that were read while its own waited.
        last_used: when its last answer ended, counted in answers.
    """

    token_ids: list[int] = field(default_factory=list)
    num_read: int = 0
    owner: str = ""
    answer: Answer | None = None
    token: int | None = None
    num_passed: int = 0
    last_used: int = 0


class Scheduler:
    """The answers of one model. `submit` may be called from any thread, `advance` from one."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        max_waiting: int = 0,
        on_submit: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin without answers.

        Args:
            decoder: the model.
            max_waiting: answers that may wait for a row.
            on_submit: called when there is something to do again.
        """
        self.on_submit = on_submit
        self._decoder = decoder
        self._rows = [_Row() for _ in range(decoder.num_rows)]
        self._num_stepping = 0
        self._num_ended = 0
        self._waiting: deque[Answer] = deque()
        self._max_open = decoder.num_rows + max_waiting
        self._num_open = 0
        self._lock = threading.Lock()
        self._mean_seconds = 1.0

    @property
    def num_running(self) -> int:
        """Answers that have a row."""
        return sum(row.answer is not None for row in self._rows)

    @property
    def num_waiting(self) -> int:
        """Answers that wait for a row."""
        return len(self._waiting)

    def submit(self, answer: Answer) -> None:
        """Ask for an answer.

        Raises:
            QueueFull: too many wait already.
        """
        with self._lock:
            if self._num_open >= self._max_open:
                turns = self._num_open / len(self._rows)
                raise QueueFull(max(1, math.ceil(turns * self._mean_seconds)))
            self._num_open += 1
            self._waiting.append(answer)
        self.on_submit()

    def advance(self) -> bool:
        """Read a piece of a prompt, and give every answer its next token.

        Returns:
            Whether there is more to do.
        """
        self._drop()
        self._admit()
        self._read()
        self._step()
        return bool(self._waiting) or any(row.answer for row in self._rows)

    def fail(self) -> None:
        """End all answers that run: the model could not go on, and the cache may be wrong."""
        for row in self._rows:
            if row.answer is not None:
                row.answer.end("fault")
                self._free(row)
            row.token_ids, row.num_read = [], 0
        self._num_stepping = 0

    def _drop(self) -> None:
        """End answers that nobody waits for, or whose time is over."""
        for row in list(self._rows):
            reason = None if row.answer is None else _find_reason_to_drop(row.answer)
            if row.answer is not None and reason is not None:
                was_stepping = row.token is not None
                row.answer.end(reason)
                self._free(row)
                if was_stepping:
                    self._leave(row)
        if any(map(_find_reason_to_drop, tuple(self._waiting))):
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        with self._lock:
            judged = [(answer, _find_reason_to_drop(answer)) for answer in self._waiting]
            self._waiting = deque(answer for answer, reason in judged if reason is None)
        for answer, reason in judged:
            if reason is not None:
                answer.end(reason)
                self._count(answer)

    def _admit(self) -> None:
        """Give free rows to those who wait: first come, first served, but owners in turns."""
        while self._waiting and any(row.answer is None for row in self._rows):
            running = Counter(row.owner for row in self._rows if row.answer is not None)
            answer = min(self._waiting, key=lambda waiting: running[waiting.task.owner])
            with self._lock:
                self._waiting.remove(answer)
            self._place(answer)

    def _place(self, answer: Answer) -> None:
        """Choose a row: one that holds the beginning of the prompt, else the one longest unused."""
        prompt_ids, owner = answer.task.prompt_ids, answer.task.owner
        source, num_shared = 0, 0
        for number, row in enumerate(self._rows):
            kept = row.token_ids[: row.num_read] if row.owner == owner else []
            num_common = min(_count_common(kept, prompt_ids), max(len(prompt_ids) - 2, 0))
            if num_common > num_shared:
                source, num_shared = number, num_common
        free = [number for number, row in enumerate(self._rows) if row.answer is None]
        is_its_own = 2 * num_shared >= self._rows[source].num_read
        if source in free and num_shared and is_its_own:
            target = source
        else:
            target = min(free, key=lambda number: self._rows[number].last_used)
        if num_shared and target != source:
            self._decoder.copy(source, target, num_shared)
        row = self._rows[target]
        row.token_ids, row.num_read = list(prompt_ids[:num_shared]), num_shared
        row.owner, row.answer, row.token, row.num_passed = owner, answer, None, 0
        answer.start(num_shared)

    def _read(self) -> None:
        """Read a piece of the shortest prompt; a longer one comes nearer with each that passes."""
        reading = [row for row in self._rows if row.answer is not None and row.token is None]
        if not reading:
            return
        row = min(reading, key=_measure_turn)
        for other in reading:
            other.num_passed += other is not row
        assert row.answer is not None
        prompt_ids, start = row.answer.task.prompt_ids, len(row.token_ids)
        end = min(start + READ_TOKENS, len(prompt_ids))
        end -= end == len(prompt_ids) - 1  # a single token would be left
        logits_V = self._decoder.read(self._rows.index(row), prompt_ids[start:end], start)
        row.token_ids.extend(prompt_ids[start:end])
        row.num_read = end if len(prompt_ids) > 1 else 0
        if end == len(prompt_ids):
            row.token = row.answer.take(logits_V)
            if row.token is None:
                self._free(row)
            else:
                self._swap(self._rows.index(row), self._num_stepping)
                self._num_stepping += 1

    def _step(self) -> None:
        """One run of the graph: a token for every answer under way."""
        rows = self._rows[: self._num_stepping]
        if not rows:
            return
        tokens = [row.token for row in rows if row.token is not None]
        logits_BV = self._decoder.step(tokens, [len(row.token_ids) for row in rows])
        for row, token, logits_V in zip(rows, tokens, logits_BV, strict=True):
            row.token_ids.append(token)
            assert row.answer is not None
            row.token = row.answer.take(logits_V)
        for row in rows:
            if row.token is None:
                self._free(row)
                self._leave(row)

    def _free(self, row: _Row) -> None:
        """The answer of a row has ended; what the row has read stays."""
        assert row.answer is not None
        self._count(row.answer)
        del row.token_ids[row.num_read :]
        row.answer, row.token, row.last_used = None, None, self._num_ended

    def _count(self, answer: Answer) -> None:
        """Note that an answer has ended, and how long it took."""
        self._num_ended += 1
        self._mean_seconds += _MEAN_WEIGHT * (answer.seconds - self._mean_seconds)
        with self._lock:
            self._num_open -= 1

    def _leave(self, row: _Row) -> None:
        """Take a row out of those that step; the last of them takes its place."""
        self._num_stepping -= 1
        self._swap(self._rows.index(row), self._num_stepping)

    def _swap(self, one: int, other: int) -> None:
        if one != other:
            rows = self._rows
            lengths = len(rows[one].token_ids), len(rows[other].token_ids)
            self._decoder.swap(one, other, *lengths)
            rows[one], rows[other] = rows[other], rows[one]


def _find_reason_to_drop(answer: Answer) -> StopReason | None:
    if answer.is_unwanted:
        return "cancelled"
    return "time" if answer.is_late else None


def _measure_turn(row: _Row) -> int:
    """Tokens that a row still has to read, less what passed it: the least has the next turn."""
    assert row.answer is not None
    num_left = len(row.answer.task.prompt_ids) - len(row.token_ids)
    return num_left - READ_TOKENS * row.num_passed


def _count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
