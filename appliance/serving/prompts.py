"""Conversations become the text that a model was tuned to read, with a limit on time and memory.

The same template and the same care for special tokens as in `dataset/template.py`: what a person
writes can never become a token that ends a turn.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import appliance
from appliance.dataset.template import load_chat_template
from appliance.dataset.tokenizer import TextTokenizer
from appliance.values import Turn

RENDER_SECONDS = 2.0
"""Of processor time. A template that takes longer is a trap; they take less than a millisecond."""

_REPLY_SECONDS = 60.0
"""For a reply on the clock: the process imports its libraries first, and a machine may be busy."""

_MAX_REPLY_BYTES = 64 * 2**20

_BROKEN = "the chat template of the base broke down"


class PromptRefusal(Exception):  # noqa: N818  (a verdict about a conversation)
    """The template cannot express a conversation, or did not come to an end."""


class PromptWriter:
    """Renders the template of one bundle in a process of its own, started with the first one.

    The process is replaced when a template hangs or kills it. Any thread may call.
    """

    def __init__(self, folder: Path, tokenizer: TextTokenizer) -> None:
        """Take the template of a bundle.

        Raises:
            BaseModelError: its tokenizer configuration is damaged.
        """
        self._setup = {
            "source": load_chat_template(folder),
            "bos_token": tokenizer.bos_token,
            "eos_token": tokenizer.eos_token,
            "special_tokens": tokenizer.special_tokens,
            "seconds": RENDER_SECONDS,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._lock = threading.Lock()

    def write(self, turns: Sequence[Turn]) -> str:
        """A conversation up to where the model answers.

        Raises:
            PromptRefusal: the template refuses it, or needs too much time or memory.
        """
        with self._lock:
            try:
                process = self._start()
                _send(process, [turn.model_dump() for turn in turns])
                reply = _receive(process)
            except EOFError as exc:
                raise PromptRefusal(self._bury()) from exc
            except (OSError, ValueError) as exc:  # TimeoutError is one of these
                self._kill()
                raise PromptRefusal(_BROKEN) from exc
        if "prompt" not in reply:
            raise PromptRefusal(reply.get("refusal", "the chat template of the base gave nothing"))
        return str(reply["prompt"])

    def start(self) -> None:
        """Start the process ahead of the first conversation, without waiting for it."""
        with self._lock:
            self._process = self._process or self._open()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that has read the template."""
        if self._process is not None and self._process.poll() is not None:
            self._kill()
        process = self._process or self._open()
        self._process = process
        if not self._is_ready:
            reply = _receive(process)
            if "refusal" in reply:
                self._kill()
                raise PromptRefusal(reply["refusal"])
            self._is_ready = True
        return process

    def _open(self) -> subprocess.Popen[bytes]:
        self._is_ready = False
        process = subprocess.Popen(
            [sys.executable, "-m", "appliance.serving.render"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(Path(appliance.__file__).parent.parent),
                "PYTHONUTF8": "1",
                "MALLOC_ARENA_MAX": "1",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "RAYON_NUM_THREADS": "1",
            },
            cwd="/",
        )
        _send(process, self._setup)
        return process

    def _bury(self) -> str:
        """Why the process ended, in words."""
        code = None if self._process is None else self._process.wait()
        self._kill()
        if code == -signal.SIGPROF:
            return f"the chat template of the base did not end within {RENDER_SECONDS:g} s"
        return _BROKEN

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _send(process: subprocess.Popen[bytes], body: Any) -> None:
    assert process.stdin is not None
    left = memoryview(json.dumps(body).encode() + b"\n")
    while left:
        left = left[process.stdin.write(left) or 0 :]


def _receive(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """One line of the child's.

    Raises:
        TimeoutError: it did not come in time.
        EOFError: the child is gone.
        ValueError: it is too long, or no object.
    """
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + _REPLY_SECONDS
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        part = os.read(descriptor, 2**20)
        if not part:
            raise EOFError
        line += part
        if len(line) > _MAX_REPLY_BYTES:
            raise ValueError("the reply is too long")
    reply = json.loads(line)
    if not isinstance(reply, dict):
        raise ValueError("the reply is no object")
    return reply
