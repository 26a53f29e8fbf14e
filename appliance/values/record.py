"""The record that every value is."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen record; a field that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    VOLATILE: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how things are at the moment: they do not decide whether a stage is done."""
