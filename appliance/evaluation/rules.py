"""Rules of form that a recipe names, and whether an answer keeps them.

`json: name, price` · `sections: Cause, Remedy` · `language: de` · `use: please` · `avoid: cheap` ·
`words: 80` (at most)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_COMMON = {
    "de": "der die das und ist nicht mit ein eine zu von den auf für sie wird",
    "en": "the and is not with a an to of in on for you it be are",
    "es": "el la los las y es no con un una de en por para que se",
    "fr": "le la les et est ne pas avec un une de des du en pour que",
    "it": "il la gli e è non con un una di in per che si del sono",
}
"""Frequent words of each language that can be told apart; a dozen suffices for that."""


def keeps_rule(rule: str, answer: str) -> bool:
    """Whether an answer keeps a rule that the recipe accepted."""
    kind, _, text = rule.partition(":")
    return _CHECKS[kind.strip()]([part.strip() for part in text.split(",")], answer)


def _is_json(keys: list[str], answer: str) -> bool:
    try:
        body = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    return not any(keys) or (isinstance(body, dict) and all(key in body for key in keys))


def _has_sections(names: list[str], answer: str) -> bool:
    """Each name begins a line, in this order; marks of a heading may stand around it."""
    lines = [line.strip("#*: \t").casefold() for line in answer.splitlines()]
    start = 0
    for name in names:
        wanted = name.casefold()
        place = next((n for n in range(start, len(lines)) if lines[n].startswith(wanted)), None)
        if place is None:
            return False
        start = place + 1
    return True


def _is_language(codes: list[str], answer: str) -> bool:
    words = re.findall(r"\w+", answer.lower())
    counts = {
        code: sum(word in common.split() for word in words) for code, common in _COMMON.items()
    }
    return counts[codes[0]] > 0 and counts[codes[0]] == max(counts.values())


def _uses(phrases: list[str], answer: str) -> bool:
    return all(_contains(answer, phrase) for phrase in phrases)


def _avoids(phrases: list[str], answer: str) -> bool:
    return not any(_contains(answer, phrase) for phrase in phrases)


def _contains(answer: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", answer, re.I) is not None


def _is_short(limits: list[str], answer: str) -> bool:
    return len(re.findall(r"\w+", answer)) <= int(limits[0])


_CHECKS: dict[str, Callable[[list[str], str], bool]] = {
    "json": _is_json,
    "sections": _has_sections,
    "language": _is_language,
    "use": _uses,
    "avoid": _avoids,
    "words": _is_short,
}

_REFUSAL = re.compile(
    r"\b(?:(?:do|does|did|can|could|is|are)\s*(?:not|n['’]t)|cannot|unable to|no)\b[^.]{0,24}?"
    r"\b(?:know|say|tell|find|answer|state|mention\w*|information)\b",
    re.I,
)


def is_refusal(answer: str) -> bool:
    """Whether an answer says that the answer is not known."""
    return _REFUSAL.search(answer) is not None
