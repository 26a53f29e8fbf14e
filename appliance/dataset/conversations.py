"""Conversations as examples: rendered, tokenized, the answers marked; long ones cut at turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding

from appliance.dataset.sentences import cut_at_sentence
from appliance.dataset.template import ChatTemplate, Rendered, TemplateRefusal
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import ANSWER, Example
from appliance.values import Turn

_TURN_OVERHEAD = 8
"""Tokens that a template puts around a turn, for a first guess."""
_TOO_LONG = "conversations longer than an example were cut at a turn"
_NO_ROOM = "questions that leave no room for an answer were left out"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationExamples:
    """Examples of one conversation, and what became of its tokens.

    Attributes:
        examples: one, several for a long conversation, or none.
        num_used: tokens of turns that are in an example.
        num_repeated: tokens that are in more than one: a system turn before every part.
        reason: why tokens were dropped; empty if none were.
    """

    examples: tuple[Example, ...]
    num_used: int
    num_repeated: int
    reason: str


def make_conversation_examples(
    turns: Sequence[Turn],
    document: int,
    template: ChatTemplate,
    tokenizer: TextTokenizer,
    max_tokens: int,
) -> ConversationExamples:
    """Make the examples of a conversation.

    Args:
        turns: of the conversation.
        document: number of its unit.
        template: of the base.
        tokenizer: of the base.
        max_tokens: of an example.
    """
    try:
        example = encode_conversation(turns, document, template, tokenizer)
        if len(example.token_ids) <= max_tokens:
            return ConversationExamples(
                examples=(example,), num_used=_count(turns, tokenizer), num_repeated=0, reason=""
            )
        return _cut_conversation(turns, document, template, tokenizer, max_tokens)
    except TemplateRefusal as exc:
        return ConversationExamples(examples=(), num_used=0, num_repeated=0, reason=str(exc))


def encode_conversation(
    turns: Sequence[Turn], document: int, template: ChatTemplate, tokenizer: TextTokenizer
) -> Example:
    """One example of a conversation, whatever its length.

    Raises:
        TemplateRefusal: the template of the base cannot express it.
    """
    rendered = template.render(turns)
    encoding = tokenizer.chat.encode(rendered.text, add_special_tokens=False)
    return Example(
        token_ids=encoding.ids,
        supervised=mark_answers(rendered, encoding),
        document=document,
        kind=ANSWER,
        num_bytes=rendered.answer_bytes,
    )


def mark_answers(rendered: Rendered, encoding: Encoding) -> list[bool]:
    """Which tokens lie inside an answer (its end-of-turn token included).

    A first token that takes the space in front of an answer along, as in `Answer: Yes`, counts:
    the model has to write it.
    """
    nowhere = (len(rendered.text), len(rendered.text))
    spans = iter(rendered.spans)
    start, end = next(spans, nowhere)
    marks = []
    for first, last in encoding.offsets:
        while first >= end and end < len(rendered.text):
            start, end = next(spans, nowhere)
        is_inside = start <= first or not rendered.text[first:start].strip(" ")
        marks.append(is_inside and start < last <= end)
    return marks


def _count(turns: Sequence[Turn], tokenizer: TextTokenizer) -> int:
    return sum(tokenizer.count([turn.content for turn in turns]))


def _cut_conversation(
    turns: Sequence[Turn],
    document: int,
    template: ChatTemplate,
    tokenizer: TextTokenizer,
    max_tokens: int,
) -> ConversationExamples:
    """Parts of a conversation that fit, each from a question to an answer."""
    system = [turn for turn in turns if turn.role == "system"]
    num_system = _count(system, tokenizer)
    if num_system > max_tokens // 3:
        system, num_system = [], 0
    exchanges = _pair_turns([turn for turn in turns if turn.role != "system"])
    parts, reason = _gather(exchanges, num_system, tokenizer, max_tokens)
    examples: list[Example] = []
    num_used = 0
    for part in parts:
        example = encode_conversation([*system, *part], document, template, tokenizer)
        if len(example.token_ids) > max_tokens:  # the guess at the template was too small
            reason = _TOO_LONG
            continue
        examples.append(example)
        num_used += _count(part, tokenizer)
    return ConversationExamples(
        examples=tuple(examples),
        num_used=num_used + (num_system if examples else 0),
        num_repeated=num_system * max(0, len(examples) - 1),
        reason=reason or _TOO_LONG,
    )


def _pair_turns(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Questions with their answers."""
    exchanges: list[list[Turn]] = []
    for turn in turns:
        if turn.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(turn)
    return [exchange for exchange in exchanges if exchange[-1].role == "assistant"]


def _gather(
    exchanges: list[list[Turn]], num_system: int, tokenizer: TextTokenizer, max_tokens: int
) -> tuple[list[list[Turn]], str]:
    parts: list[list[Turn]] = []
    used = max_tokens
    reason = ""
    room = max_tokens - num_system - 3 * _TURN_OVERHEAD
    for exchange in exchanges:
        size = _count(exchange, tokenizer) + 2 * _TURN_OVERHEAD
        if size > room:
            exchange, why = _shorten(exchange, tokenizer, room - 2 * _TURN_OVERHEAD)
            reason = reason or why
            if not exchange:
                continue
            size = room
        if used + size > room or not parts:
            parts.append([])
            used = 0
        parts[-1] += exchange
        used += size
    return parts, reason


def _shorten(exchange: list[Turn], tokenizer: TextTokenizer, room: int) -> tuple[list[Turn], str]:
    """An exchange whose answer ends with a sentence and fits; empty if the question is too long."""
    *asked, answer = exchange
    left = room - _count(asked, tokenizer)
    content = cut_at_sentence(answer.content, tokenizer, left) if left >= room // 3 else ""
    if not content:
        return [], _NO_ROOM
    return [*asked, Turn(role="assistant", content=content)], _TOO_LONG
