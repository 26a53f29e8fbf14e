"""Telephone numbers.

No checksum tells them from other numbers; shape and the words before them do. A number with a
country code or in a national way of writing needs no word; a bare one does. After words such as
`order` or `serial` only a country code counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.documents.scrubbing.context import OTHERWISE, make_label
from appliance.documents.scrubbing.finding import Finding, Piece

_INTERNATIONAL = re.compile(
    r"(?<![\w+])(?:\+|(?<!\d )00[ -]?(?=[1-9]\d[ ()/.-]))"
    r"\s?\(?[1-9](?:[ ().\-/]{0,3}[0-9]){6,14}(?![0-9])"
)
_NATIONAL = re.compile(
    r"(?<![\w.+/-])(?<!\d[, ])(?:"
    r"(?:1[-. ])?\(?[2-9]\d{2}(?:\) ?|[-.])\d{3}[-.]\d{4}"  # North America
    r"|\(0[1-9]\d{0,4}\)[ -]?\d(?:[ /-]?\d){3,9}"  # (0211) 123 45
    r"|0[1-9]\d{0,3}(?: ?[/-] ?| )\d(?:[ -]?\d){4,9}"  # 0211/12345, 020 7946 0018, 0171 2345678
    r"|0[1-9](?:[ .-]\d\d){4}"  # 01 23 45 67 89
    r")(?!\w|[./-]\d)"
)
_LABELLED = re.compile(r"(?<![\w./])\(?\+?\d(?:[ ().\-/]{0,3}[0-9]){5,13}(?![0-9])")
_DATE = re.compile(
    r"(?:[0-3]?\d([./-])[0-3]?\d\1(?:19|20)?\d\d|(?:19|20)\d\d([./-])[01]?\d\2[0-3]?\d)(?![./\d-])"
)
_LABEL = make_label(
    r"phone\w* telephone\w* telefon\w* teléfono téléphone tel tél fon ph fax telefax "
    r"mobil\w* móvil cell cellphone handy natel hotline helpline call calling ring dial "
    r"sms whatsapp anruf\w* rufnummer durchwahl switchboard zentrale reach emergency "
    r"notruf pager voicemail desk office landline contact",
    r"\b[\w\s.,;\"':=(/+|-]{0,24}",
)
_EXTENSION = re.compile(r" ?(?:ext\.?|x|extension|dw|durchwahl) ?\d{1,5}\b", re.I)
_BOOK = re.compile(r"97[89](?:[ -]?\d){10}(?!\d)")
_MIN_DIGITS, _MAX_DIGITS = 7, 15
"""Source: ITU-T E.164 for the most; the least is a local number."""


def find_phones(piece: Piece) -> Iterator[Finding]:
    """Telephone numbers, with their extension."""
    text = piece.text
    for number in piece.numbers:
        start, end = max(0, number.start - 3), min(len(text), number.end + 1)
        lead = text[start : number.start + 2]
        if "+" in lead or lead.endswith("00"):
            for match in _INTERNATIONAL.finditer(text, start, end):
                yield _with_extension(text, match)
        if _BOOK.match(text, number.start):
            continue
        is_labelled = _LABEL.stands_before(number, piece)
        if not is_labelled and OTHERWISE.stands_before(number, piece):
            continue
        for match in (_LABELLED if is_labelled else _NATIONAL).finditer(text, start, end):
            if _is_phone(match[0]):
                yield _with_extension(text, match)


def _is_phone(text: str) -> bool:
    digits = "".join(filter(str.isdigit, text))
    if set(digits) <= {"0", "1"}:
        return False  # bits
    return _MIN_DIGITS <= len(digits) <= _MAX_DIGITS and not _DATE.match(text.lstrip("("))


def _with_extension(text: str, match: re.Match[str]) -> Finding:
    extension = _EXTENSION.match(text, match.end())
    end = extension.end() if extension else match.end()
    return Finding(kind="phone", start=match.start(), end=end)
