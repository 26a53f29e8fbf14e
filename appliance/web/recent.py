"""What the service told a moment ago: many who look at the same job at once ask it only once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")

KEEP_SECONDS = 1.0
"""How old an answer may be."""


class Recent:
    """Answers, each from its question until it is too old. Nothing is kept longer."""

    def __init__(self, seconds: float = KEEP_SECONDS) -> None:
        """Nothing was asked.

        Args:
            seconds: how old an answer may be.
        """
        self._seconds = seconds
        self._answers: dict[Hashable, asyncio.Task[Any]] = {}

    async def find(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question; who asks while it is on its way, waits for the same one.

        Args:
            question: tells it from others.
            ask: gets the answer. It goes on when the one who asked first goes away.

        Raises:
            ApplianceError: what `ask` raised; the next one asks again.
        """
        task = self._answers.get(question)
        if task is None:
            task = self._answers[question] = asyncio.ensure_future(_run(ask))
            task.add_done_callback(lambda done: self._let_age(question, done))
        return cast(T, await asyncio.shield(task))

    def forget(self) -> None:
        """Something was changed: what was told before is not asked for any more."""
        self._answers.clear()

    def _let_age(self, question: Hashable, task: asyncio.Task[Any]) -> None:
        """Drop an answer when it is too old, a failure at once."""
        if task.cancelled() or task.exception() is not None:
            self._drop(question, task)
            return
        asyncio.get_running_loop().call_later(self._seconds, self._drop, question, task)

    def _drop(self, question: Hashable, task: asyncio.Task[Any]) -> None:
        if self._answers.get(question) is task:
            del self._answers[question]


async def _run(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
