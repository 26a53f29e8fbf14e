"""Masking secrets: keys, passwords and account numbers never reach a model.

Each becomes a placeholder that says its kind, `[secret: access key]`, so that the sentence around
it still reads. Patterns with a checksum or a fixed shape only: a false alarm costs a fact. Names,
e-mail addresses and telephone numbers are not secrets here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SPACE_OR_DASH = str.maketrans("", "", " -")


def mask_secrets(text: str) -> tuple[str, int]:
    """Replace secrets by placeholders.

    Returns:
        The text, and how many secrets were replaced.
    """
    total = 0
    for kind, pattern, is_secret in _RULES:

        def replace(
            match: re.Match[str], kind: str = kind, is_secret: Callable[[str], bool] = is_secret
        ) -> str:
            nonlocal total
            value = match["value"]
            if not is_secret(value):
                return match[0]
            total += 1
            start, end = match.span("value")
            offset = match.start()
            return f"{match[0][: start - offset]}[secret: {kind}]{match[0][end - offset :]}"

        text = pattern.sub(replace, text)
    return text, total


def passes_luhn(value: str) -> bool:
    """Whether the digits of a card number add up. Source: H. P. Luhn, US patent 2950048 (1960)."""
    digits = [int(digit) for digit in value if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def passes_mod97(value: str) -> bool:
    """Whether the check digits of an account number are right. Source: ISO 13616, ISO 7064."""
    compact = value.translate(_SPACE_OR_DASH).upper()
    if not 15 <= len(compact) <= 34:
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def _looks_chosen(value: str) -> bool:
    """Whether a word after `password:` is one, not prose such as `required` or `see below`."""
    value = value.rstrip(".,;)")
    if len(value) < 5 or value.startswith("["):
        return False
    has_digit = any(map(str.isdigit, value))
    has_letter = any(map(str.isalpha, value))
    has_sign = bool(re.search(r"[!@#$%^&*+=?~]", value.strip("*")))
    return (has_digit and has_letter) or (has_sign and has_letter)


def _looks_random(value: str) -> bool:
    """Whether a long word mixes digits with letters, as keys do and words do not."""
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _always(_: str) -> bool:
    return True


def _rule(
    kind: str, pattern: str, is_secret: Callable[[str], bool] = _always
) -> tuple[str, re.Pattern[str], Callable[[str], bool]]:
    return kind, re.compile(pattern), is_secret


_RULES = (
    _rule(
        "private key",
        r"(?P<value>-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\s\S]{0,20000}?-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----|[^\n]{0,20000}))",
    ),
    _rule("token", r"(?P<value>\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"),
    _rule("access key", r"(?P<value>\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}\b)"),
    _rule(
        "access key",
        r"(?i)aws.{0,20}secret.{0,20}?[:=]\s*[\"']?(?P<value>[A-Za-z0-9/+=]{40})(?![A-Za-z0-9/+=])",
    ),
    _rule(
        "token",
        r"(?P<value>\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
        r"|xox[abprs]-[A-Za-z0-9-]{10,}|sk_(?:live|test)_[A-Za-z0-9]{16,}"
        r"|sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|AIza[\w-]{35}|npm_[A-Za-z0-9]{30,}))",
    ),
    _rule("token", r"(?i)\bbearer\s+(?P<value>[A-Za-z0-9._~+/-]{16,}=*)", _looks_random),
    _rule(
        "token",
        r"(?i)\b(?:api|access|auth|secret|client|account|shared|service)[ _-]?"
        r"(?:key|token|secret)[\"']?\s{0,3}(?:is|:|=)\s{0,3}[\"']?"
        r"(?P<value>[A-Za-z0-9._~+/=-]{12,})",
        _looks_random,
    ),
    _rule(
        "login",
        r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://(?P<value>[^\s:/@\[]{1,100}:[^\s/@]{1,200})@",
    ),
    _rule(
        "password",
        r"(?i)\b(?:pass(?:word|wort|code|phrase|wd)?|pwd|kennwort|pin code)\b[\"']?"
        r"\s{0,3}(?:is|:|=)\s{0,3}[\"']?(?P<value>[^\s\"'<>|;,]{5,128})",
        _looks_chosen,
    ),
    _rule(
        "card number",
        r"(?<![\w.-])(?P<value>(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|6011|65\d{2})"
        r"(?:[ -]?\d{4}){3}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?![\w-]|\.\d)",
        passes_luhn,
    ),
    _rule(
        "account number",
        r"\b(?P<value>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b",
        passes_mod97,
    ),
    _rule(
        "social security number",
        r"(?<![\w-])(?P<value>(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4})(?![\w-])",
    ),
)
