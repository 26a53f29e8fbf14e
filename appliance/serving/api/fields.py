"""Fields of requests that are written in several ways, or must not say anything.

An error names what would be right and never quotes what was sent.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

MAX_STOPS = 4
MAX_STOP_CHARACTERS = 256

Ignored = Any
"""Of a field that is taken and has no effect."""


def _join_content(value: object) -> object:
    """Text, or a list of text parts, as OpenAI's API has it."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    texts = [part.get("text") for part in value if _is_text(part)]
    if len(texts) < len(value):
        raise ValueError("only parts of the type 'text' are supported")
    return "".join(text for text in texts if isinstance(text, str))


def _is_text(part: object) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _list_stops(value: object) -> object:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return []
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError("a string or a list of strings is needed")
    if len(stops) > MAX_STOPS or not all(0 < len(stop) <= MAX_STOP_CHARACTERS for stop in stops):
        raise ValueError(
            f"at most {MAX_STOPS} strings of 1 to {MAX_STOP_CHARACTERS} characters are allowed"
        )
    return stops


def _take_one(value: object) -> object:
    """A prompt, or a list of one; as text or as token ids."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(type(token) is int for token in value):
        return value
    raise ValueError("one text, or one list of token ids, is needed")


def _need_one(value: object) -> object:
    if value not in (None, 1) or isinstance(value, bool):
        raise ValueError("this server gives one answer to a request")
    return 1


def _need_nothing(value: object) -> object:
    if value not in (None, False, "", [], {}, "none"):
        raise ValueError("this server does not support it")
    return None


One = Annotated[int, Field(ge=1, le=1), BeforeValidator(_need_one)]
Unsupported = Annotated[None, BeforeValidator(_need_nothing)]
Content = Annotated[str, BeforeValidator(_join_content)]
Stops = Annotated[list[str], BeforeValidator(_list_stops)]
Prompt = Annotated[str | list[int], BeforeValidator(_take_one)]
