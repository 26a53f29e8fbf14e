"""The licence of a base model: what its folder states, and whether that allows commercial use."""

from __future__ import annotations

import re
from pathlib import Path

TEXTS = {
    "apache-2.0": r"Apache License,?\s+Version 2\.0",
    "mit": r"\bMIT License\b",
    "cc0-1.0": r"\bCC0 1\.0\b",
    "cc-by-4.0": r"Creative Commons Attribution 4\.0",
    "cc-by-nc-4.0": r"Attribution-NonCommercial 4\.0",
    "qwen-research": r"Qwen RESEARCH LICENSE",
    "qwen": r"Qwen LICENSE AGREEMENT",
    "llama3.1": r"LLAMA 3\.1 COMMUNITY LICENSE",
    "llama3.3": r"LLAMA 3\.3 COMMUNITY LICENSE",
}
"""What the text of a licence is known by."""

MAX_CHARACTERS = 64 * 1024
"""Read of a model card or a licence: both say what they are at the top."""

UNKNOWN = "unknown"

_FORBIDDING = re.compile(r"(^|[-_. ])nc([-_. ]|$)|research|non-?commercial|non-?production", re.I)


def read_licence(folder: Path) -> str:
    """Licence that a folder states.

    Returns:
        The one in the front matter of README.md, else that of the text of LICENSE, else "unknown".
        Where the text forbids commercial use, it counts, whatever the card says.
    """
    stated = parse_front_matter(_read_text(folder / "README.md"))
    text = _recognise_text(folder)
    if text and forbids_commercial_use(text):
        return text
    return stated or text or UNKNOWN


def forbids_commercial_use(licence: str) -> bool:
    """Whether a licence, by its identifier, permits no commercial use.

    Identifiers that are not in the catalogue are judged by their words: `cc-by-nc-sa-4.0`,
    `some-research-license`.
    """
    return bool(_FORBIDDING.search(licence))


def parse_front_matter(text: str) -> str:
    """Licence in the front matter of a model card; "" where it states none."""
    if not text.startswith("---"):
        return ""
    front = text[3:].split("\n---", 1)[0]
    rows = re.findall(r"^(license|license_name):\s*['\"]?([^'\"\n]+)", front, re.MULTILINE)
    found: dict[str, str] = {key: value.strip()[:80] for key, value in rows}
    named = found.get("license", "")
    return found.get("license_name", named) if named == "other" else named


def _recognise_text(folder: Path) -> str:
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        text = _read_text(folder / name)
        for identifier, pattern in TEXTS.items():
            if re.search(pattern, text):
                return identifier
    return ""


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_CHARACTERS)
    except OSError:
        return ""
