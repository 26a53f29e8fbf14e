"""The licence of a base model, as its folder states it."""

from __future__ import annotations

import re
from pathlib import Path

TEXTS = {
    "apache-2.0": r"Apache License,?\s+Version 2\.0",
    "mit": r"\bMIT License\b",
    "cc0-1.0": r"\bCC0 1\.0\b",
    "cc-by-4.0": r"Creative Commons Attribution 4\.0",
}
"""What the text of a licence is known by."""


def read_licence(folder: Path) -> str:
    """Licence from the front matter of README.md, else from the text of LICENSE, else "unknown"."""
    stated = parse_front_matter(_read_text(folder / "README.md"))
    if stated:
        return stated
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        text = _read_text(folder / name)
        for identifier, pattern in TEXTS.items():
            if re.search(pattern, text):
                return identifier
    return "unknown"


def parse_front_matter(text: str) -> str:
    """Licence in the front matter of a model card; "" where it states none."""
    if not text.startswith("---"):
        return ""
    front = text[3:].split("\n---", 1)[0]
    rows = re.findall(r"^(license|license_name):\s*['\"]?([^'\"\n]+)", front, re.MULTILINE)
    found: dict[str, str] = {key: value.strip() for key, value in rows}
    named = found.get("license", "")
    return found.get("license_name", named) if named == "other" else named


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
