"""How much of the text that others find is in ours: words counted as often as they stand there.

What both others found is text for certain. What only one found may be markup or a guess: it is
shown, and counts only where the other cannot read the file at all.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"\]\([^()\s]*(?:\s\"[^\"]*\")?\)|(?:https?|mailto|data):[^\s)>\]]+")
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.S)
_TEMPLATE = re.compile(
    r"\{%-?\s*comment.{0,5000}?endcomment\s*-?%\}|<!--.{0,5000}?-->|\{%.{0,500}?%\}|\{\{.{0,500}?\}\}",
    re.S,
)
_TAG = re.compile(r"<[^<>]{1,300}>")
_WORD = re.compile(r"[^\W_]+")

Row = dict[str, Any]
Texts = dict[str, str]
"""By path; a file that a tool did not read is missing."""


def compare_texts(ours: Texts, peers: dict[str, Texts]) -> list[Row]:
    """A row for every suffix, and one for all."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(ours.keys() | set().union(*peers.values())):
        counts = _compare_file(path, ours, peers)
        for name in (Path(path).suffix.lower() or "none", "all"):
            rows[name].update(counts)
    return [_finish(name, counts, list(peers)) for name, counts in rows.items()]


def count_words(text: str) -> Counter[str]:
    """Words in small letters; front matter, comments, templates, tags and addresses are no text."""
    for markup in (_FRONT_MATTER, _TEMPLATE, _ADDRESS, _TAG):
        text = markup.sub(" ", text)
    return Counter(_WORD.findall(text.casefold()))


def _compare_file(path: str, ours: Texts, peers: dict[str, Texts]) -> Counter[str]:
    own = count_words(ours.get(path, ""))
    found = {name: count_words(texts[path]) for name, texts in peers.items() if texts.get(path)}
    counts = Counter({"files": 1, "words": own.total(), "read": path in ours})
    for name, words in found.items():
        counts[f"{name} words"] = words.total()
        counts[f"{name} kept"] = (words & own).total()
    both = None
    for words in found.values():
        both = words if both is None else both & words
    if both:
        counts["both words"] = both.total()
        counts["both kept"] = (both & own).total()
    return counts


def _finish(name: str, counts: Counter[str], peers: list[str]) -> Row:
    row: Row = {"format": name, "num_files": counts["files"], "num_read": counts["read"]}
    row["num_words"] = counts["words"]
    for peer in (*peers, "both"):
        words = counts[f"{peer} words"]
        row[f"{peer}_words"] = words
        row[f"kept_of_{peer}"] = round(counts[f"{peer} kept"] / words, 4) if words else None
    return row
