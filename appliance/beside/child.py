"""The child in which a tuned model and its base answer: `python -m appliance.beside.child`.

It reads an `Order` on its first line and a question on each of the next ones, and tells what comes
as a JSON line each; the line `stop` ends an answer. It loads two models, so there is one on a
machine at a time; it leaves when nobody asks, when its input ends, and when its parent dies. What
it is asked and answers stands in those lines and nowhere else.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from appliance.beside.loading import load_base, load_tuned
from appliance.beside.orders import MAX_SECONDS, STOP, Order, Question
from appliance.errors import ApplianceError, BusyError
from appliance.hardware.memory import probe_memory
from appliance.offline import go_offline
from appliance.rundir import close_to_others
from appliance.values import Turn

PLACE = "\0appliance-beside"
"""Name of an abstract socket that whoever is at work holds: the kernel frees it on any death."""

_PR_SET_PDEATHSIG = 1
_FILE_BYTES = 2**20
_MEMORY_SHARE = 0.9


def main() -> None:
    """Answer until nobody asks any more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    go_offline()
    close_to_others()
    limit_process()
    order = Order.model_validate_json(sys.stdin.readline())
    try:
        with take_place(), Stage(order) as stage:
            for question in stage.read_questions():
                stage.answer(question)
    except ApplianceError as exc:
        tell(kind="refused", error=describe(exc))
        tell(kind="done")


def limit_process() -> None:
    """No core, no large file, and no more memory than is free now: others work on this machine."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_DATA, int(probe_memory().free_bytes * _MEMORY_SHARE)),
    ):
        resource.setrlimit(limit, (value, value))


def take_place() -> socket.socket:
    """Be the only one on this machine.

    Raises:
        BusyError: somebody else is at work.
    """
    place = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        place.bind(PLACE)
    except OSError as exc:
        place.close()
        raise BusyError(
            "models answer side by side for somebody else",
            why="two models are loaded for it, so there is one such place on a machine",
            fix="try again in two minutes",
        ) from exc
    return place


class Stage:
    """The two models, and whoever asks them."""

    def __init__(self, order: Order) -> None:
        """Listen; nothing is loaded before the first question."""
        self._order = order
        self._questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
        self._should_stop = threading.Event()
        self._loading = ThreadPoolExecutor(1)
        self._voices: dict[str, Future[Any]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Stage:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was loaded; what is still loading goes with the process."""
        for voice in self._voices.values():
            if voice.done() and voice.exception() is None:
                voice.result().close()
        self._loading.shutdown(wait=False, cancel_futures=True)

    def read_questions(self) -> Iterator[Question]:
        """Questions as they come; ends when none came for a while."""
        while True:
            try:
                yield self._questions.get(timeout=self._order.idle_seconds)
            except queue.Empty:
                return

    def answer(self, question: Question) -> None:
        """Let both models answer, in turns."""
        try:
            self._answer(question)
        except ApplianceError as exc:
            tell(kind="refused", error=describe(exc))
        except Exception as exc:  # the shell of a question: what it says may quote
            error = {"what": "the models could not answer", "why": type(exc).__name__, "fix": ""}
            tell(kind="refused", error=error)
        tell(kind="done")

    def _answer(self, question: Question) -> None:
        from appliance.beside.voices import Talk
        from appliance.serving.citing import put_passages

        self._load()
        tuned = self._voices["tuned"].result()
        turns: list[Turn] = [Turn(role="user", content=question.text)]
        if question.search and tuned.engine.shelf is not None:
            turns, citations = put_passages(tuned.engine, turns, question.max_tokens)
            tell(kind="citations", citations=[asdict(each) for each in citations])
        talks = {"tuned": Talk(tuned.say(turns, question.max_tokens))}
        is_base_due = True
        deadline = time.monotonic() + MAX_SECONDS
        try:
            while talks or is_base_due:
                if self._should_stop.is_set() or time.monotonic() > deadline:
                    for who in (*talks, *(["base"] if is_base_due else [])):
                        reason = "cancelled" if self._should_stop.is_set() else "time"
                        tell(kind="end", who=who, reason=reason, num_tokens=0, speed=0.0)
                    return
                base = self._voices["base"]
                if is_base_due and (base.done() or not talks):
                    is_base_due = not self._join(talks, base, turns, question.max_tokens)
                elif talks:
                    self._take_turn(talks)
        finally:
            for talk in talks.values():
                talk.close()

    def _join(
        self, talks: dict[str, Any], base: Future[Any], turns: list[Turn], max_tokens: int
    ) -> bool:
        """Let the base begin, if it is there; returns whether it need not be waited for."""
        from appliance.beside.voices import Talk

        try:
            voice = base.result(timeout=0.1)
        except TimeoutError:
            return False
        except ApplianceError as exc:
            tell(kind="absent", who="base", error=describe(exc))
            return True
        handicap = min((talk.turn for talk in talks.values()), default=0.0)
        talks["base"] = Talk(voice.say(turns, max_tokens), handicap)
        return True

    def _take_turn(self, talks: dict[str, Any]) -> None:
        """A piece of the model that had less time so far."""
        who = min(talks, key=lambda name: talks[name].turn)
        talk = talks[who]
        try:
            text = talk.advance()
        except ApplianceError as exc:
            del talks[who]
            tell(kind="absent", who=who, error=describe(exc))
            return
        if text:
            tell(kind="text", who=who, text=text)
        if talk.told is not None:
            del talks[who]
            tell(
                kind="end",
                who=who,
                reason=talk.told.reason,
                num_tokens=talk.told.num_tokens,
                speed=talk.count_speed(),
            )

    def _load(self) -> None:
        """Load what is not there yet: the tuned model first, its base beside the answer."""
        if "tuned" in self._voices and self._voices["tuned"].exception() is None:
            return
        tell(kind="doing", text="Checking and loading the model")
        self._voices = {
            "tuned": self._loading.submit(load_tuned, self._order.run),
            "base": self._loading.submit(load_base, self._order.run),
        }

    def _listen(self) -> None:
        """Heed the parent: when its end closes, it died or has no use for us, and we go."""
        for line in sys.stdin:
            if line.strip() == STOP:
                self._should_stop.set()
            else:
                self._should_stop.clear()
                self._questions.put(Question.model_validate_json(line))
        os._exit(0)


def describe(error: ApplianceError) -> dict[str, str]:
    """An error as the page shows it."""
    return {"what": error.what, "why": error.why, "fix": error.fix}


def tell(**fields: Any) -> None:
    """One line."""
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # a base that is still loading is of no use any more
