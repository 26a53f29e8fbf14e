"""What the child is told: which run's models answer, and each question."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

STOP = "stop"
"""A line that ends the answer under way."""

MAX_SECONDS = 180.0
"""For the answers to one question."""

IDLE_SECONDS = 120.0
"""Without a question, after which the models go."""

MAX_TOKENS = 1024
"""Of an answer."""


class Order(BaseModel):
    """Which run's models answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path
    idle_seconds: float = IDLE_SECONDS


class Question(BaseModel):
    """What is asked; `search` puts passages of the documents before it, where there is an index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    max_tokens: int = Field(ge=1, le=MAX_TOKENS)
    search: bool = True
