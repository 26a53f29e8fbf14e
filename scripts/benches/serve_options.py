"""Ways to give several clients their tokens, behind one interface, for `serve.py`.

`ours` is the scheduler of the product. The others are what ONNX Runtime GenAI offers on a
processor: a generator for each client in turns; one generator for all, built again whenever
somebody comes or leaves; and its own Engine, which begins and ends a batch as a whole.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Tokens = list[tuple[int, int]]
"""Numbers of requests, each with a token that came."""


class Option(Protocol):
    """Something that answers several requests at once."""

    def submit(self, number: int, prompt: list[int], num_tokens: int) -> None:
        """Ask for exactly so many tokens."""

    def step(self) -> Tokens:
        """Do the least that can be done, and tell what came of it."""


class Ours:
    """The product's scheduler."""

    def __init__(self, folder: Path, threads: int, num_rows: int) -> None:
        """Load the model."""
        from appliance.serving.engine import Engine

        self._engine = Engine(folder, threads=threads, num_rows=num_rows, max_waiting=64)
        self._biases = dict.fromkeys(list_eos(read_config(folder)), -1e9)
        self._owners = itertools.count()
        self._running: dict[int, tuple[Any, int]] = {}

    def submit(self, number: int, prompt: list[int], num_tokens: int) -> None:
        """See `Option`."""
        from appliance.serving.answer import Task
        from appliance.serving.sampling import Sampling

        task = Task(
            prompt_ids=tuple(prompt),
            room=num_tokens,
            max_tokens=num_tokens,
            sampling=Sampling(biases=self._biases),
            owner=str(next(self._owners)),  # nothing of another request is reused
        )
        self._running[number] = (self._engine.submit(task, lambda piece: None), 0)

    def step(self) -> Tokens:
        """See `Option`; which token it was, only the model knows."""
        self._engine.scheduler.advance()
        came = []
        for number, (answer, seen) in list(self._running.items()):
            came += [(number, 0)] * (answer.num_tokens - seen)
            self._running[number] = (answer, answer.num_tokens)
            if answer.num_tokens == answer.task.max_tokens:
                del self._running[number]
        return came


class Turns:
    """A generator for each client, one token each in turns."""

    def __init__(self, folder: Path, threads: int, num_rows: int) -> None:
        """Load the model."""
        self._model = Genai(folder, threads)
        self._num_rows = num_rows
        self._waiting: deque[tuple[int, list[int], int]] = deque()
        self._running: dict[int, Any] = {}

    def submit(self, number: int, prompt: list[int], num_tokens: int) -> None:
        """See `Option`."""
        self._waiting.append((number, prompt, num_tokens))

    def step(self) -> Tokens:
        """See `Option`."""
        if self._waiting and len(self._running) < self._num_rows:
            number, prompt, num_tokens = self._waiting.popleft()
            self._running[number] = self._model.generate([prompt], [num_tokens])
        came = []
        for number, generator in list(self._running.items()):
            generator.generate_next_token()
            came.append((number, int(generator.get_next_tokens()[0])))
            if generator.is_done():
                del self._running[number]
        return came


class Reformed:
    """One generator for all; everything is read again when somebody comes or leaves."""

    def __init__(self, folder: Path, threads: int, num_rows: int) -> None:
        """Load the model."""
        self._model = Genai(folder, threads)
        self._num_rows = num_rows
        self._waiting: deque[tuple[int, list[int], int]] = deque()
        self._running: dict[int, tuple[list[int], int]] = {}
        self._generator: Any = None

    def submit(self, number: int, prompt: list[int], num_tokens: int) -> None:
        """See `Option`."""
        self._waiting.append((number, prompt, num_tokens))

    def step(self) -> Tokens:
        """See `Option`."""
        while self._waiting and len(self._running) < self._num_rows:
            number, prompt, num_tokens = self._waiting.popleft()
            self._running[number] = (list(prompt), num_tokens)
            self._generator = None
        if not self._running:
            return []
        if self._generator is None:
            texts, lefts = zip(*self._running.values(), strict=True)
            self._generator = self._model.generate(list(texts), list(lefts))
        self._generator.generate_next_token()
        tokens = [int(token) for token in self._generator.get_next_tokens()]
        came = list(zip(self._running, tokens, strict=True))
        for number, token in came:
            text, left = self._running[number]
            self._running[number] = ([*text, token], left - 1)
            if left == 1:
                del self._running[number]
                self._generator = None
        return came


class Static:
    """The library's Engine."""

    def __init__(self, folder: Path, threads: int, num_rows: int) -> None:
        """Load the model; as many requests in a batch as others get rows."""
        batching = {"engine": {"static_batching": {"max_batch_size": num_rows}}}
        self._model = Genai(folder, threads, batching)
        self._engine = self._model.library.Engine(self._model.model)
        self._events = self._engine.create_event_buffer(64)
        self._requests: dict[int, Any] = {}

    def submit(self, number: int, prompt: list[int], num_tokens: int) -> None:
        """See `Option`."""
        request = self._engine.create_request()
        options = self._model.library.TurnOptions(request)
        options.set_max_generated_tokens(num_tokens)
        options.set_min_generated_tokens(num_tokens)
        options.set_do_sample(False)
        request.begin_turn(np.array(prompt, dtype=np.int32), options)
        self._requests[number] = request

    def step(self) -> Tokens:
        """See `Option`."""
        if not self._engine.has_pending_requests():
            return []
        numbers = {id(request): number for number, request in self._requests.items()}
        is_token = self._model.library.EngineEventFlags.TOKEN.value
        came = []
        for event in self._engine.run(self._events):
            if int(event.flags) & int(is_token):
                number = numbers.get(id(event.request))
                if number is None:
                    number = next(n for n, r in self._requests.items() if r == event.request)
                came.append((number, int(event.token)))
        return came


class Genai:
    """A model in ONNX Runtime GenAI."""

    def __init__(self, folder: Path, threads: int, overlay: dict[str, Any] | None = None) -> None:
        """Load it."""
        import onnxruntime_genai

        self.library: Any = onnxruntime_genai
        config = onnxruntime_genai.Config(str(folder))
        options = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
        if overlay:
            config.overlay(json.dumps(overlay))
        self.model = onnxruntime_genai.Model(config)
        self._pad = int(read_config(folder)["model"]["pad_token_id"])

    def generate(self, prompts: list[list[int]], nums_tokens: list[int]) -> Any:
        """A generator that has read some prompts, padded to one length."""
        longest = max(map(len, prompts))
        parameters = self.library.GeneratorParams(self.model)
        end = longest + max(nums_tokens)
        parameters.set_search_options(
            max_length=end, min_length=end, batch_size=len(prompts), do_sample=False
        )
        generator = self.library.Generator(self.model, parameters)
        rows = [prompt + [self._pad] * (longest - len(prompt)) for prompt in prompts]
        generator.append_tokens(np.array(rows if len(rows) > 1 else rows[0], dtype=np.int32))
        return generator


OPTIONS: dict[str, type[Option]] = {
    "ours": Ours,
    "turns": Turns,
    "reformed": Reformed,
    "static": Static,
}


def read_config(folder: Path) -> dict[str, Any]:
    """The exporter's description of a model."""
    config: dict[str, Any] = json.loads((folder / "genai_config.json").read_text())
    return config


def list_eos(config: dict[str, Any]) -> list[int]:
    """Tokens that end an answer."""
    eos = config["model"]["eos_token_id"]
    return eos if isinstance(eos, list) else [eos]
