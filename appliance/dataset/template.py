"""Chat templates: a conversation becomes the text a model reads, and which of it are answers.

Templates come with the base and are programs: they render in a sandbox. The answers are found by
rendering the conversation once with marks in their place, so that no template has to be understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from appliance.dataset.tokenizer import TextTokenizer, read_tokenizer_config
from appliance.errors import BaseModelError
from appliance.values import Turn

FALLBACK_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% elif message['role'] == 'assistant' %}Answer: {{ message['content'] }}{{ eos_token }}\n\n"
    "{% else %}{{ message['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)
"""For bases that were never taught to chat and bring no template."""

_TODAY = "01 Jan 2026"
"""What templates that print the date are told: the same text tomorrow, so the same dataset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A conversation as a model reads it.

    Attributes:
        text: with special tokens spelled out.
        spans: (start, end) of every answer with its end-of-turn token, in characters.
        answer_bytes: UTF-8 bytes of the answers without that token.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    answer_bytes: int


class TemplateRefusal(Exception):  # noqa: N818  (a verdict about a conversation)
    """The template of the base cannot express this conversation."""


class ChatTemplate:
    """The template of a base, compiled."""

    def __init__(self, source: str, tokenizer: TextTokenizer) -> None:
        """Compile it in a sandbox.

        Raises:
            BaseModelError: it is not a valid template.
        """
        self._tokenizer = tokenizer
        try:
            self._template = _make_environment().from_string(source)
        except jinja2.TemplateError as exc:
            raise BaseModelError(
                "the chat template of the base model is not valid",
                why=str(exc).splitlines()[0] if str(exc) else type(exc).__name__,
                fix="download or import the base model again",
            ) from exc

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """Render a conversation and find its answers.

        Raises:
            TemplateRefusal: the template refuses it, or changes its words.
        """
        messages = self._prepare(turns)
        try:
            return self._render(messages)
        except TemplateRefusal:
            if messages[0]["role"] != "system" or len(messages) < 2:
                raise
        merged = f"{messages[0]['content']}\n\n{messages[1]['content']}"
        return self._render([{"role": "user", "content": merged}, *messages[2:]])

    def render_prompt(self, turns: Sequence[Turn]) -> str:
        """A conversation up to the place where the model answers.

        Raises:
            TemplateRefusal: the template refuses it.
        """
        return self._fill(self._prepare(turns), opens_answer=True)

    def _prepare(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        return [
            {"role": turn.role, "content": self._tokenizer.disarm(turn.content.strip())}
            for turn in turns
        ]

    def _render(self, messages: list[dict[str, str]]) -> Rendered:
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        marks = [f"\ue000answer{number}\ue001" for number in range(len(answers))]
        numbered = iter(marks)
        marked = [
            {**m, "content": next(numbered)} if m["role"] == "assistant" else m for m in messages
        ]
        pieces = self._split(self._fill(marked), marks)
        text, spans = pieces[0], []
        for answer, piece in zip(answers, pieces[1:], strict=True):
            start = len(text)
            text += answer + piece
            spans.append((start, start + len(answer) + self._measure_end(piece)))
        if text != self._fill(messages):
            raise TemplateRefusal("the chat template of the base changes the words of an answer")
        if spans and spans[-1][1] - spans[-1][0] == len(answers[-1]):
            # nothing ends the answer: the model has to learn to stop all the same
            text = text[: spans[-1][1]] + self._tokenizer.eos_token
            spans[-1] = (spans[-1][0], len(text))
        answer_bytes = sum(len(answer.encode()) for answer in answers)
        return Rendered(text=text, spans=tuple(spans), answer_bytes=answer_bytes)

    def _fill(self, messages: list[dict[str, str]], *, opens_answer: bool = False) -> str:
        try:
            return self._template.render(
                messages=messages,
                bos_token=self._tokenizer.bos_token,
                eos_token=self._tokenizer.eos_token,
                add_generation_prompt=opens_answer,
                enable_thinking=False,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as exc:
            reason = "the chat template of the base refuses the conversation"
            raise TemplateRefusal(reason) from exc

    def _split(self, text: str, marks: Sequence[str]) -> list[str]:
        pieces = []
        for mark in marks:
            before, found, text = text.partition(mark)
            if not found:
                raise TemplateRefusal("the chat template of the base leaves an answer out")
            pieces.append(before)
        return [*pieces, text]

    def _measure_end(self, piece: str) -> int:
        """Characters of the end-of-turn token that follows an answer; 0 if none does."""
        tokens = {*self._tokenizer.special_tokens, self._tokenizer.eos_token} - {""}
        for token in sorted(tokens, key=len, reverse=True):
            if re.match(rf"\s*{re.escape(token)}", piece):
                return piece.index(token) + len(token)
        return 0


def load_chat_template(folder: Path) -> str:
    """The chat template of a base: its own file, its tokenizer configuration, or the plain one."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    source = read_tokenizer_config(folder).get("chat_template")
    if isinstance(source, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in source if isinstance(t, dict)}
        source = named.get("default")
    return source if isinstance(source, str) and source else FALLBACK_TEMPLATE


class _Generation(Extension):
    """`{% generation %}` marks answers for a trainer that reads it; here its body is just text."""

    tags = {"generation"}  # noqa: RUF012  (the library's own way to declare it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Give the body back."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _make_environment() -> ImmutableSandboxedEnvironment:
    """An environment with what chat templates expect.

    Source: transformers 5, utils/chat_template_utils.py, `_compile_jinja_template`.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _tell_date()
    return environment


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """JSON as it is; Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tell_date() -> Callable[[str], str]:
    return lambda _: _TODAY
