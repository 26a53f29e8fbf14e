"""Where every example of a split comes from: one line each, beside its token file.

File names stand in it, so it is as private as the text: it stays in the run.
"""

from __future__ import annotations

from pathlib import Path

from appliance.values import ExampleOrigin

ORIGINS = "origins.jsonl"
"""Name of the file inside a split; `writer.py` writes it."""


def read_origins(split: Path) -> list[ExampleOrigin]:
    """The origins of a split, in the order of its examples."""
    with (split / ORIGINS).open(encoding="utf-8") as lines:
        return [ExampleOrigin.model_validate_json(line) for line in lines]
