"""A bundle that answers: ONNX Runtime GenAI, one conversation at a time, without torch."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Literal

from appliance.errors import BundleError, UsageError
from appliance.offline import go_offline
from appliance.values import Turn

StopReason = Literal["end", "length", "context", "loop"]
"""Why an answer ended: by itself, at `max_tokens`, at the end of the context, or in a loop."""

_LOOP_TOKENS = 48
"""An answer that ends in this many tokens of one cycle, four rounds at least, leads nowhere."""

_LOOP_PERIOD = 32
"""Longest cycle looked for, in tokens."""


class Engine:
    """A loaded model."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load the model of a bundle, or of an export stage.

        Args:
            folder: with genai_config.json.
            threads: processor cores to use; None leaves it to ONNX Runtime.

        Raises:
            BundleError: the folder does not hold a model that loads.
        """
        go_offline()
        import onnxruntime_genai

        self._genai: Any = onnxruntime_genai
        try:
            config = onnxruntime_genai.Config(str(folder))
            if threads is not None:
                options = {"session_options": {"intra_op_num_threads": threads}}
                config.overlay(json.dumps({"model": {"decoder": options}}))
            self._model = onnxruntime_genai.Model(config)
            self._tokenizer = onnxruntime_genai.Tokenizer(self._model)
            settings = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
            self.context = int(settings["model"]["context_length"])
        except (RuntimeError, OSError, ValueError, KeyError) as exc:
            raise BundleError(
                f"the model in {folder} cannot be loaded",
                why=(str(exc).splitlines() or [type(exc).__name__])[0],
                fix=f"check it with: appliance verify {folder}",
            ) from exc

    def stream_reply(
        self,
        messages: Sequence[Turn],
        max_tokens: int = 512,
        *,
        temperature: float = 0.0,
        stop_loops: bool = True,
    ) -> Generator[str, None, StopReason]:
        """Answer a conversation, piece by piece.

        Args:
            messages: the whole conversation so far; the last one is the question.
            max_tokens: of the answer.
            temperature: 0 always takes the most likely token; higher is more varied.
            stop_loops: whether to end an answer that repeats itself.

        Yields:
            Text as it comes; characters of several tokens come whole.

        Returns:
            Why the answer ended.

        Raises:
            UsageError: the conversation leaves no room for an answer.
            BundleError: the model has no chat template that can be used.
        """
        prompt_ids = self.encode_prompt(messages)
        room = self.context - len(prompt_ids)
        if room < 1:
            raise UsageError(
                f"the conversation has {len(prompt_ids):,} tokens, too many for this model",
                why=f"question and answer have to fit into its context of {self.context:,}",
                fix="shorten the question, or start a new conversation",
            )
        generator = self._start(prompt_ids, min(max_tokens, room), temperature)
        stream = self._tokenizer.create_stream()
        ends = set(self._tokenizer.eos_token_ids)
        answer_ids: list[int] = []
        while len(answer_ids) < min(max_tokens, room):
            generator.generate_next_token()
            token = int(generator.get_next_tokens()[0])
            if token in ends:
                return "end"
            answer_ids.append(token)
            piece = stream.decode(token)
            if piece:
                yield piece
            if stop_loops and is_looping(answer_ids):
                return "loop"
            if generator.is_done():
                break
        return "context" if len(answer_ids) >= room else "length"

    def encode_prompt(self, messages: Sequence[Turn]) -> list[int]:
        """Token ids of a conversation, up to where the answer begins.

        Raises:
            BundleError: the model has no chat template that can be used.
        """
        turns = json.dumps([turn.model_dump() for turn in messages], ensure_ascii=False)
        try:
            prompt = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        except RuntimeError as exc:
            raise BundleError(
                "the model has no chat template that can be used",
                why=(str(exc).splitlines() or ["no reason given"])[0],
                fix="tune a base that was made for conversations: --base NAME",
            ) from exc
        return [int(token) for token in self._tokenizer.encode(prompt)]

    def _start(self, prompt_ids: list[int], num_tokens: int, temperature: float) -> Any:
        parameters = self._genai.GeneratorParams(self._model)
        # the key-value buffer is made as long as max_length, so ask for no more than is needed
        options: dict[str, float | bool] = {
            "max_length": len(prompt_ids) + num_tokens,
            "do_sample": temperature > 0,
        }
        if temperature > 0:
            options["temperature"] = temperature
        parameters.set_search_options(**options)
        generator = self._genai.Generator(self._model, parameters)
        generator.append_tokens(prompt_ids)
        return generator


def is_looping(token_ids: Sequence[int]) -> bool:
    """Whether the end of an answer is one cycle of tokens, again and again."""
    for period in range(1, _LOOP_PERIOD + 1):
        num_tokens = max(_LOOP_TOKENS, 4 * period)
        tail = token_ids[-num_tokens:]
        if len(tail) == num_tokens and tail[period:] == tail[:-period]:
            return True
    return False
