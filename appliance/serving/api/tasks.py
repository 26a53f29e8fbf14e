"""From a body to a task: what the model reads, how tokens are chosen, where the answer ends."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.serving.answer import Task
from appliance.serving.api.bodies import Body, ChatBody, CompletionBody
from appliance.serving.api.errors import ApiError, make_context_error, make_grammar_error
from appliance.serving.citing import Citation, put_passages
from appliance.serving.engine import Engine
from appliance.serving.guidance import GrammarRefusal, Guide
from appliance.serving.prompts import PromptRefusal
from appliance.serving.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request may take.

    Attributes:
        max_body_bytes: of a request.
        body_seconds: until all of it has come.
        max_tokens: of an answer; None for the context alone.
        max_seconds: from the request to the end of its answer.
    """

    max_body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0
    max_tokens: int | None = None
    max_seconds: float = 600.0


def make_task(engine: Engine, body: Body, owner: str, limits: Limits) -> Task:
    """The task that a body asks for. May take seconds, so the event loop is no place for it.

    Raises:
        ApiError: the prompt is empty or too long, or its template or grammar refuses it.
    """
    prompt_ids, citations = _read_prompt(engine, body, limits)
    if not prompt_ids:
        raise ApiError(400, f"The {body.prompt_field} must not be empty.", param=body.prompt_field)
    room = engine.context - len(prompt_ids)
    if room < 1:
        raise make_context_error(engine.context, len(prompt_ids), body.prompt_field)
    return Task(
        prompt_ids=tuple(prompt_ids),
        room=room,
        max_tokens=min(body.wanted_tokens or room, limits.max_tokens or room),
        sampling=_choose_sampling(body, engine.vocab_size),
        stops=tuple(body.stop),
        num_top=body.num_top,
        guide=_make_guide(engine, body),
        ends_loops=body.wanted_tokens is None,  # the length was left to us
        owner=owner,
        max_seconds=limits.max_seconds,
        citations=citations,
    )


def _read_prompt(
    engine: Engine, body: Body, limits: Limits
) -> tuple[list[int], tuple[Citation, ...] | None]:
    if isinstance(body, ChatBody):
        turns = [message.turn for message in body.messages]
        citations = None
        if _should_search(engine, body):
            max_tokens = min(body.wanted_tokens or 2**31, limits.max_tokens or 2**31)
            turns, citations = put_passages(engine, turns, max_tokens)
        try:
            return engine.encode_prompt(turns), citations
        except PromptRefusal as exc:
            message = f"{str(exc).capitalize()}."
            raise ApiError(400, message, param="messages", code="template_refused") from exc
    assert isinstance(body, CompletionBody)
    if isinstance(body.prompt, str):
        return engine.encode_text(body.prompt) if body.prompt else [], None
    if not all(0 <= token < engine.vocab_size for token in body.prompt):
        message = f"Token ids of this model are below {engine.vocab_size}."
        raise ApiError(400, message, param="prompt")
    return body.prompt, None


def _should_search(engine: Engine, body: ChatBody) -> bool:
    if body.search and engine.shelf is None:
        raise ApiError(400, "This model has no documents to search.", param="search")
    return engine.shelf is not None and body.search is not False


def _make_guide(engine: Engine, body: Body) -> Guide | None:
    grammar = body.grammar
    try:
        return engine.make_guide(grammar) if grammar else None
    except GrammarRefusal as exc:
        raise make_grammar_error(str(exc)) from exc


def _choose_sampling(body: Body, vocab_size: int) -> Sampling:
    """Without a temperature the most likely tokens are taken: so the model was evaluated."""
    return Sampling(
        temperature=0.0 if body.top_p == 0 else body.temperature or 0.0,
        top_p=body.top_p or 1.0,
        top_k=max(body.top_k or 0, 0),
        seed=body.seed,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        biases=_read_biases(body.logit_bias or {}, vocab_size),
    )


def _read_biases(biases: dict[str, float], vocab_size: int) -> dict[int, float]:
    """Keys of JSON are strings; these are token ids."""
    found = {}
    for key, bias in biases.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < vocab_size):
            message = f"Keys have to be token ids below {vocab_size}."
            raise ApiError(400, message, param="logit_bias")
        found[int(key)] = bias
    return found
