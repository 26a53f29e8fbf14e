"""Scrubbing: private values never reach a model.

Each becomes a placeholder that says its kind, so that the sentence around it still reads; the same
value is the same placeholder everywhere. What a value looks like is decided in `scrubbing/`; this
file cuts the text into pieces, asks every family, and replaces what they found.

Patterns find what has a shape. They do not find names, addresses, or a secret told in plain words:
those can be listed (`documents.mask_words`), or must not be in the folder.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from appliance.documents.scrubbing.accounts import find_cards, find_ibans
from appliance.documents.scrubbing.credentials import (
    find_connection_strings,
    find_keys,
    find_passwords,
    find_private_keys,
    find_web_tokens,
)
from appliance.documents.scrubbing.finding import (
    CONTACTS,
    KINDS,
    SECRETS,
    Find,
    Finding,
    Kind,
    Piece,
)
from appliance.documents.scrubbing.identities import find_identities
from appliance.documents.scrubbing.internet import find_addresses, find_emails
from appliance.documents.scrubbing.phones import find_phones
from appliance.documents.scrubbing.vendor_keys import find_vendor_keys
from appliance.documents.scrubbing.words import make_word_family
from appliance.recipe import DocumentsRecipe

_PIECE_CHARACTERS = 2**17
_FAMILIES: tuple[tuple[Find, frozenset[Kind]], ...] = (
    (find_web_tokens, frozenset({"jwt"})),
    (find_connection_strings, frozenset({"connection_string"})),
    (find_vendor_keys, frozenset({"api_key"})),
    (find_keys, frozenset({"api_key"})),
    (find_passwords, frozenset({"password"})),
    (find_cards, frozenset({"card"})),
    (find_ibans, frozenset({"iban"})),
    (find_identities, frozenset({"national_id"})),
    (find_emails, frozenset({"email"})),
    (find_phones, frozenset({"phone"})),
    (find_addresses, frozenset({"ip"})),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScrubPolicy:
    """What is replaced.

    Attributes:
        kinds: of values.
        words: names and code words to replace as well.
        keep: values that stay, in any capitals; `*` stands for anything.
    """

    kinds: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "name")
    words: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


def make_policy(recipe: DocumentsRecipe) -> ScrubPolicy:
    """What a recipe asks for."""
    stays = {_as_kind(entry) for entry in recipe.mask_except}
    wanted = (SECRETS if recipe.mask_secrets else frozenset()) | (
        CONTACTS if recipe.mask_contacts else frozenset()
    )
    return ScrubPolicy(
        kinds=tuple(kind for kind in KINDS if kind in wanted and kind not in stays),
        words=recipe.mask_words,
        keep=tuple(entry for entry in recipe.mask_except if _as_kind(entry) not in KINDS),
    )


def read_policy(parts: dict[str, list[str]]) -> ScrubPolicy:
    """A policy from JSON (`dataclasses.asdict` writes it)."""
    kinds = tuple(kind for kind in KINDS if kind in parts["kinds"])
    return ScrubPolicy(kinds=kinds, words=tuple(parts["words"]), keep=tuple(parts["keep"]))


def _as_kind(entry: str) -> str:
    return re.sub(r"[\s-]", "_", entry.strip().casefold())


def scrub_text(
    text: str, policy: ScrubPolicy, mark: Callable[[Kind, str], str]
) -> tuple[str, Counter[Kind]]:
    """Replace private values.

    Args:
        text: of a document.
        policy: what is replaced.
        mark: gives the text that takes the place of a value.

    Returns:
        The text, and how many values of each kind were replaced.
    """
    parts: list[str] = []
    counts: Counter[Kind] = Counter()
    done = 0
    for finding in find_private(text, policy):
        parts += [text[done : finding.start], mark(finding.kind, text[finding.start : finding.end])]
        counts[finding.kind] += 1
        done = finding.end
    return "".join([*parts, text[done:]]), counts


def find_private(text: str, policy: ScrubPolicy) -> list[Finding]:
    """Private values of a text in order, none overlapping another, without those to keep."""
    if not policy.kinds and not policy.words:
        return []
    found = [
        Finding(kind=each.kind, start=each.start + offset, end=each.end + offset)
        for offset, piece in _cut(text)
        for each in _ask_families(piece, policy)
    ]
    if "private_key" in policy.kinds:
        found += find_private_keys(Piece(text))  # these have many lines
    is_kept = _compile_keep(policy.keep)
    kept = (each for each in found if not is_kept(text[each.start : each.end]))
    return _join_overlaps(kept)


def _ask_families(piece: Piece, policy: ScrubPolicy) -> Iterator[Finding]:
    for find, kinds in _FAMILIES:
        if kinds.issubset(policy.kinds):
            yield from find(piece)
    if policy.words:
        yield from make_word_family(policy.words)(piece)


def _cut(text: str) -> Iterator[tuple[int, Piece]]:
    """Pieces that end with a line (a very long line is cut at a space), with their places.

    Pieces bound the memory that a family takes, whatever the size of the file.
    """
    start = 0
    while start < len(text):
        end = min(len(text), start + _PIECE_CHARACTERS)
        if end < len(text):
            end = _find_cut(text, start, end)
        yield start, Piece(text[start:end])
        start = end


def _find_cut(text: str, start: int, end: int) -> int:
    for separator in ("\n", " "):
        place = text.rfind(separator, start, end)
        if place > start:
            return place + 1
    return end


def _join_overlaps(found: Iterable[Finding]) -> list[Finding]:
    """Findings that touch the same characters become one, of the kind with the highest rank."""
    joined: list[Finding] = []
    for each in sorted(found, key=lambda finding: (finding.start, finding.end)):
        if joined and each.start < joined[-1].end:
            last = joined.pop()
            kind = min(last.kind, each.kind, key=KINDS.index)
            each = Finding(kind=kind, start=last.start, end=max(last.end, each.end))
        joined.append(each)
    return joined


@lru_cache(maxsize=4)
def _compile_keep(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    if not patterns:
        return lambda _: False
    pattern = re.compile("|".join(fnmatch.translate(each.casefold()) for each in patterns))
    return lambda value: pattern.match(value.casefold()) is not None
