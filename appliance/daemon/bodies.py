"""What a request to the control socket may hold, checked before anything is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from appliance.errors import ServiceError
from appliance.jobs import JobKind
from appliance.recipe import Recipe

MAX_BODY_BYTES = 2**20
"""Of a request with a JSON body; recipes are small."""


class JobOrder(BaseModel):
    """Body of POST /v1/jobs."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(min_length=1, max_length=200)
    documents: Path
    base: str | None = Field(None, min_length=1)
    recipe: Recipe = Recipe()
    kind: JobKind = "tune"
    priority: int = Field(0, ge=-100, le=100)
    fresh: bool = False
    force: bool = False
    is_handed_over: bool = False
    by_person: tuple[Annotated[str, Field(max_length=100)], ...] = Field((), max_length=100)

    @field_validator("documents")
    @classmethod
    def _check_documents(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise PydanticCustomError("path", "it is the path of a folder, from / on")
        return value

    @field_validator("key", "documents", "base")
    @classmethod
    def _check_text(cls, value: str | Path | None) -> str | Path | None:
        if "\0" in str(value):
            raise PydanticCustomError("text", "it holds a character that no path has")
        return value


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        ServiceError: it is larger than any that makes sense.
    """
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MAX_BODY_BYTES:
            raise ServiceError("the request is too large", why="recipes are small")
    return body
