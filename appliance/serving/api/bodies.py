"""Bodies of requests: JSON becomes typed values, or an error that names the field.

Fields of OpenAI's API that mean nothing to a server of one's own are taken and ignored; those that
would change the answer and are not supported are refused, and so are fields that nobody knows.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.serving.api.errors import ApiError
from appliance.serving.api.fields import Content, Ignored, One, Prompt, Stops, Unsupported
from appliance.serving.guidance import Grammar
from appliance.values import Turn

_DEFAULT_COMPLETION_TOKENS = 16
"""Tokens of a completion whose length nobody asked for; OpenAI's default."""

MAX_MESSAGES = 2048
MAX_BIASES = 1024
MAX_GRAMMAR_CHARACTERS = 65_536


class Part(BaseModel):
    """A part of a body: strict types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Message(Part):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: Ignored = None
    refusal: Ignored = None
    tool_calls: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None

    @property
    def turn(self) -> Turn:
        """As the template takes it; `developer` is OpenAI's newer word for `system`."""
        role = "system" if self.role == "developer" else self.role
        return Turn(role=role, content=self.content)


class StreamOptions(Part):
    """What a stream tells beside the text."""

    include_usage: bool = False
    include_obfuscation: Ignored = None


class JsonSchema(Part):
    """A schema that the answer has to fit."""

    name: str = Field("answer", max_length=256)
    json_schema: dict[str, Any] = Field(alias="schema")
    description: Ignored = None
    strict: Ignored = None


class ResponseFormat(Part):
    """What kind of text the answer is."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Part):
    """The same for what OpenAI's API has no word for; named as in vLLM."""

    json_schema: dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None


class Body(Part):
    """What conversations and completions have in common."""

    model: str = Field(max_length=256)
    max_tokens: int | None = Field(None, ge=1, le=2**31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=2**31)
    n: One = 1
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stops = []
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=MAX_BIASES
    )
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    user: Ignored = None

    prompt_field: ClassVar[str]

    @property
    def wanted_tokens(self) -> int | None:
        """Tokens of the answer at most; None when that is left to the server."""
        raise NotImplementedError

    @property
    def num_top(self) -> int | None:
        """Most likely tokens to tell with each token; None for no scores."""
        raise NotImplementedError

    @property
    def grammar(self) -> Grammar | None:
        """What the answer has to be.

        Raises:
            ApiError: two grammars are asked for, or one that is too long.
        """
        grammars = [*self._list_grammars()]
        if len(grammars) > 1:
            raise ApiError(400, "Only one grammar can be asked for.", param="structured_outputs")
        if grammars and len(grammars[0].source) > MAX_GRAMMAR_CHARACTERS:
            raise ApiError(
                400,
                f"The grammar has more than {MAX_GRAMMAR_CHARACTERS} characters.",
                param="response_format",
            )
        return grammars[0] if grammars else None

    def _list_grammars(self) -> list[Grammar]:
        found: list[Grammar] = []
        wanted = self.response_format
        if wanted and wanted.type == "json_object":
            found.append(Grammar(kind="json", source='{"type": "object"}'))
        if wanted and wanted.type == "json_schema":
            if wanted.json_schema is None:
                raise ApiError(400, "The schema is missing.", param="response_format.json_schema")
            schema = wanted.json_schema.json_schema
            found.append(Grammar(kind="json", source=json.dumps(schema)))
        extra = self.structured_outputs
        if extra and extra.json_schema is not None:
            found.append(Grammar(kind="json", source=json.dumps(extra.json_schema)))
        if extra and extra.regex is not None:
            found.append(Grammar(kind="regex", source=extra.regex))
        return found


class ChatBody(Body):
    """Body of `/v1/chat/completions`."""

    prompt_field: ClassVar[str] = "messages"

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    search: bool | None = Field(
        None,
        description="Put passages of the documents before the question, and name them in "
        "`citations`. Not in OpenAI's API. Default: when the model has documents.",
    )
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: Unsupported = None
    tool_choice: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    modalities: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    safety_identifier: Ignored = None

    @property
    def wanted_tokens(self) -> int | None:
        """See `Body`; the second name is OpenAI's older one."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def num_top(self) -> int | None:
        """See `Body`.

        Raises:
            ApiError: the most likely tokens are asked for, but no scores.
        """
        if self.top_logprobs is not None and not self.logprobs:
            message = "'top_logprobs' needs 'logprobs' to be true."
            raise ApiError(400, message, param="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(Body):
    """Body of `/v1/completions`."""

    prompt_field: ClassVar[str] = "prompt"

    prompt: Prompt
    logprobs: int | None = Field(None, ge=0, le=5)
    best_of: One = 1
    echo: Unsupported = None
    suffix: Unsupported = None

    @property
    def wanted_tokens(self) -> int:
        """See `Body`."""
        return self.max_tokens or _DEFAULT_COMPLETION_TOKENS

    @property
    def num_top(self) -> int | None:
        """See `Body`."""
        return self.logprobs


AnyBody = TypeVar("AnyBody", bound=Body)


def parse_body(kind: type[AnyBody], content: bytes) -> AnyBody:
    """Read a body.

    Raises:
        ApiError: it is not JSON, or not of this kind; the message names the field, never its value.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as exc:
        fault = exc.errors(include_input=False, include_url=False)[0]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        raise ApiError(400, f"The body is not valid JSON. {message}")
    param = _name_field(fault["loc"])
    if not param:
        raise ApiError(400, "The body has to be a JSON object.")
    if fault["type"] == "extra_forbidden":
        raise ApiError(
            400,
            f"Unrecognized request argument supplied: {param}",
            param=param,
            code="unknown_parameter",
        )
    if fault["type"] == "missing":
        raise ApiError(
            400,
            f"Missing required parameter: '{param}'.",
            param=param,
            code="missing_required_parameter",
        )
    raise ApiError(400, f"Invalid value for '{param}': {message}.", param=param)


def _name_field(loc: tuple[int | str, ...]) -> str:
    """`("messages", 0, "role")` → `messages[0].role`; an unknown name is cut."""
    name = ""
    for part in loc:
        name += f"[{part}]" if isinstance(part, int) else f".{part[:64]}"
    return name.removeprefix(".")
