"""Card numbers and bank accounts: both carry check digits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.documents.scrubbing.context import make_label
from appliance.documents.scrubbing.finding import Finding, Piece

_CARD = re.compile(
    r"(?<![\w.-])(?:"
    r"(?:4\d{3}|5[0-8]\d{2}|2[2-7]\d{2}|6\d{3}|35[2-8]\d)(?:([ -]?)\d{4})(?:\1\d{4}){2}(?:\1\d{3})?"
    r"|3(?:[47]\d|0[0-5]|[689]\d)\d([ -]?)\d{6}\2\d{4,5}"
    r"|(?:5[06-8]|6\d)\d{12,17}|4\d{18}"
    r")(?![\w-]|\.\d)"
)
_LABELLED_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-]|\.\d)")
_LABEL = make_label(
    r"card cards cardno visa mastercard maestro amex discover diners pan credit debit kredit\w* "
    r"karte\w* carte tarjeta carta charged",
    r"[\w\s.,;\"':=#()|-]{0,16}",
)
"""Words before which any number that adds up is a card; elsewhere, 13 digits are a bar code."""

_IBAN_START = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})[0-9]{2}(?=[ -]?[A-Za-z0-9]{4})")
_SPACE_OR_DASH = str.maketrans("", "", " -")

_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FO FI GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM TL SO",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of an account number. Source: ISO 13616 registry, release 99."""


def find_cards(piece: Piece) -> Iterator[Finding]:
    """Numbers of payment cards."""
    for number in piece.numbers:
        if number.end - number.start < 12:
            continue
        pattern = _LABELLED_CARD if _LABEL.stands_before(number, piece) else _CARD
        end = min(len(piece.text), number.end + 2)
        for match in pattern.finditer(piece.text, number.start, end):
            if passes_luhn(match[0]):
                yield Finding(kind="card", start=match.start(), end=match.end())


def find_ibans(piece: Piece) -> Iterator[Finding]:
    """International bank account numbers, in groups or not."""
    text = piece.text
    for number in piece.numbers:
        for match in _IBAN_START.finditer(text, max(0, number.start - 24), number.start + 8):
            length = _LENGTHS.get(match[1].upper())
            if length is None:
                continue
            rest = re.compile(rf"(?:[ -]?[A-Za-z0-9]){{{length - 4}}}(?![A-Za-z0-9])")
            body = rest.match(text, match.end())
            if body and passes_mod97(match[0] + body[0]):
                yield Finding(kind="iban", start=match.start(), end=body.end())


def passes_luhn(value: str) -> bool:
    """Whether the digits of a card number add up. Source: H. P. Luhn, US patent 2950048 (1960)."""
    digits = [int(digit) for digit in value if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def passes_mod97(value: str) -> bool:
    """Whether the check digits of an account number are right. Source: ISO 13616, ISO 7064."""
    compact = value.translate(_SPACE_OR_DASH).upper()
    if not 15 <= len(compact) <= 34 or not compact.isascii() or not compact.isalnum():
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
