"""Credentials without a vendor's prefix: private keys, web tokens, connection strings, passwords.

What stands after `password` or `api key` is one only if it looks chosen or random: prose such as
`Password: required`, code such as `password = read(...)` and fill-ins such as `<password>` stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.documents.scrubbing.finding import Finding, Piece

_BEGIN = "-----BEGIN "
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Za-z0-9 ]{0,30}(?:PRIVATE KEY(?: BLOCK)?|Static key V1)-----"
    r"(?:[\s\S]{0,20000}?-----END [A-Za-z0-9 ]{0,30}(?:PRIVATE KEY(?: BLOCK)?|Static key V1)-----"
    r"|(?:\s{0,4}[\w+/=:,-]{16,})*[^\n]{0,20000})"
)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*(?:\.[\w-]+){0,2}")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]{1,40}\Z")
_URL_LOGIN = re.compile(r"://[^\s:/@?#\"'<>\[]{0,100}:(?P<value>[^\s/@\"'<>]{1,200})@[^\s\"'<>`|]+")
_URL_PARAMETER = re.compile(
    r"://[^\s\"'<>`]{0,300}?[?&;](?:password|passwd|pwd)=(?P<value>[^\s&;\"'<>`]{1,200})[^\s\"'<>`]*",
    re.I,
)
_PAIR = r"[A-Za-z]\w*(?: [A-Za-z]\w*)?\s?=\s?(?:\{[^}\n]{0,100}\}|[^;\n\"'`{]{0,200})"
_PAIRS_BEFORE = re.compile(rf"(?:{_PAIR};\s?){{1,12}}\Z")
_PAIR_SECRET = re.compile(
    r"(?:password|pwd|accountkey|sharedaccesskey|sharedsecret)\s?=\s?(?P<value>[^;\s\"'`<>]{4,300})"
    rf"(?P<rest>(?:;\s?{_PAIR}){{0,12}};?)",
    re.I,
)

_IS = r"(?::=|=>|[:=]|\t|\b(?:is|was|ist|lautet|est|es|set to)\b)"
_PASSWORD = re.compile(
    r"(?:pass(?:wor[dt]|wd|phrase|code|e)?|pwd|pw|kennwort|contrase[ñn]a|senha|wachtwoord|pin code)"
    r"(?P<suffix>[_-][A-Za-z0-9]{1,16})?(?![A-Za-z0-9])[\"'\])]{0,2}"
    rf"\s{{0,3}}(?P<is>{_IS}|>|(?<=\w)(?= ))\s{{0,3}}"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\n]{3,128})(?P=quote)|(?P<bare>[^\s\"'<>|;,]{3,128}))",
    re.I,
)
_KEY = re.compile(
    rf"(?:key|token|secret)(?:[_-]?(?:id|base|value))?(?![A-Za-z])[\"'\])]{{0,2}}\s{{0,3}}{_IS}\s{{0,3}}"
    r"[\"'`]?(?P<value>[\w.~+/=-]{12,400})",
    re.I,
)
_KEY_OWNER = re.compile(
    r"(?:api|access|auth|secret|client|account|shared|service|private|encrypt\w*|sign\w*|app|master|"
    r"webhook|bot|session|refresh|consumer|deploy\w*|storage|aws|azure|gcp|admin|bearer|license)"
    r"[ _.-]{0,2}\Z"
)
_AUTHORIZATION = re.compile(r"(?:bearer|basic|token|apikey)\s+(?P<value>[\w.~+/-]{16,}=*)", re.I)
_PASSWORD_WORDS = ("pass", "pwd", "pw", "kennwort", "contrase", "senha", "wachtwoord", "pin code")
_KEY_WORDS = ("key", "token", "secret")

_NOT_CHOSEN = re.compile(
    r"required|optional|none|null|true|false|changed?|reset|policy|expired|invalid|missing|wrong|"
    r"empty|unknown|string|text|hidden|protected|passwor[dt]|passwd|secret|default|changeme|"
    r"undefined|input|field|enabled|disabled|confirm",
    re.I,
)
_FILL_IN = re.compile(
    r"[<\[{]|\*{3}|\$\{|\$\([a-z]|\$[A-Z_]+\Z|\$[a-z_]+\Z|%\w*%|%[(s]|\([A-Za-z]+[.)]?\Z|x{4,}\Z|\.{3}|https?:|/[a-z]+/|[A-Za-z_.]{3,}\([\w\"').]|"
    r"[A-Za-z_]+(?:\.[A-Za-z_]+)+\Z"
)
_MIXED = re.compile(r"(?=\w*?[a-z])(?=\w*?[A-Z])(?=\w*?\d)[\w-]{16,}\Z")
_SIGN = re.compile(r"[!@#$%^&*+=?~]")
_LETTERS = re.compile(r"[^\W\d_]+\Z")


def find_private_keys(piece: Piece) -> Iterator[Finding]:
    """Blocks from BEGIN to END; of a block that was cut off, what looks like a key."""
    if _BEGIN not in piece.text:
        return
    for match in _PRIVATE_KEY.finditer(piece.text):
        yield Finding(kind="private_key", start=match.start(), end=match.end())


def find_web_tokens(piece: Piece) -> Iterator[Finding]:
    """JSON web tokens, signed or encrypted."""
    if "eyJ" not in piece.text:
        return
    for match in _JWT.finditer(piece.text):
        yield Finding(kind="jwt", start=match.start(), end=match.end())


def find_connection_strings(piece: Piece) -> Iterator[Finding]:
    """URLs with a password, and `Server=…;Password=…` strings: whole, for all of it is a way in."""
    text = piece.text
    place = text.find("://")
    while place >= 0:
        match = _URL_LOGIN.match(text, place) or _URL_PARAMETER.match(text, place)
        scheme = _SCHEME.search(text, max(0, place - 40), place) if match else None
        if match and scheme and not _FILL_IN.match(match["value"]):
            end = place + len(match[0].rstrip(".,;:)]}"))
            yield Finding(kind="connection_string", start=scheme.start(), end=end)
        place = text.find("://", place + 3)
    for word in ("password", "pwd", "accountkey", "sharedaccesskey", "sharedsecret"):
        done = 0
        for place in piece.find_all(word):
            match = _PAIR_SECRET.match(text, place) if place >= done else None
            if not match or _FILL_IN.match(match["value"]):
                continue
            is_in_pairs = text[max(0, place - 8) : place].rstrip().endswith(";")
            before = _PAIRS_BEFORE.search(text, max(0, place - 400), place) if is_in_pairs else None
            if before or len(match["rest"]) > 1:
                start, done = before.start() if before else place, match.end()
                yield Finding(kind="connection_string", start=start, end=match.end())


def find_passwords(piece: Piece) -> Iterator[Finding]:
    """What stands after a word for password, if it looks chosen."""
    text = piece.text
    for word in _PASSWORD_WORDS:
        for place in piece.find_all(word):
            match = _PASSWORD.match(text, place)
            if not match or not _starts_word(text, place):
                continue
            group = "quoted" if match["quoted"] else "bare"
            value = match[group] if group == "quoted" else match[group].rstrip(".)`]}")
            if match["is"] == "" and text[max(0, place - 2) : place] != "--":
                continue  # `--password VALUE` needs no sign
            if looks_chosen(value, is_config=_is_config(match)):
                start = match.start(group)
                yield Finding(kind="password", start=start, end=start + len(value))


def find_keys(piece: Piece) -> Iterator[Finding]:
    """What stands after `api key`, `token` or `Authorization: Bearer`, if it looks random."""
    text = piece.text
    for word in _KEY_WORDS:
        for place in piece.find_all(word):
            match = _KEY.match(text, place)
            value = match["value"] if match else ""
            if match and _looks_random(value) and _is_key(piece, word, place, value):
                yield Finding(kind="api_key", start=match.start("value"), end=match.end("value"))
    for word in ("bearer ", "basic ", "apikey "):
        for place in piece.find_all(word):
            match = _AUTHORIZATION.match(text, place)
            if match and _looks_random(match["value"]):
                yield Finding(kind="api_key", start=match.start("value"), end=match.end("value"))


def looks_chosen(value: str, *, is_config: bool) -> bool:
    """Whether a word after `password` is one, not prose such as `required` or `see`.

    Args:
        value: the word.
        is_config: whether it stands where programs read it (`password=…`, quoted): there letters
            alone will do.
    """
    value = value.strip("*_")  # emphasis
    if len(value) < 5 or _FILL_IN.match(value) or len(set(value)) < 3:
        return False
    has_letter, has_digit = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    if has_letter and (has_digit or _SIGN.search(value)):
        return True
    if has_letter:
        return is_config and bool(_LETTERS.match(value)) and not _NOT_CHOSEN.fullmatch(value)
    return is_config and has_digit


def _is_config(match: re.Match[str]) -> bool:
    return match["is"] in ("=", ":=", "=>", ">") or bool(match["quoted"])


def _looks_random(value: str) -> bool:
    """Whether a long word mixes digits with letters, as keys do and words do not."""
    return (
        any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and not re.match(r"/[a-z]", value)
    )


def _is_key(piece: Piece, word: str, place: int, value: str) -> bool:
    """Whether it is an api key or an access token.

    `token` and `secret` stand for themselves; a `key` is one of many things, unless it is long and
    mixes capitals, small letters and digits.
    """
    if _KEY_OWNER.search(piece.lower, max(0, place - 24), place):
        return True
    if piece.lower[max(0, place - 1) : place].isalpha():
        return False
    return word != "key" or bool(_MIXED.match(value))


def _starts_word(text: str, place: int) -> bool:
    """Whether `pass` is a word or part of `dbPass`, not the end of `bypass`."""
    if place == 0 or not text[place - 1].isalpha():
        return True
    return text[place].isupper() and text[place - 1].islower()
