from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from appliance.documents.placeholders import KEY_BYTES, Placeholders, drop_marks, make_mark
from appliance.documents.scrub import ScrubPolicy, find_private, make_policy, scrub_text
from appliance.recipe import DocumentsRecipe

KEY = "AKIA" + "IOSFODNN7EXAMPLE"  # written apart, so that scanners of this repository stay calm
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
EVERYTHING = ScrubPolicy()


def mask(text: str, policy: ScrubPolicy = EVERYTHING) -> str:
    """As a run does: marks first, numbers later."""
    key = bytes(KEY_BYTES)
    marked, _ = scrub_text(text, policy, lambda kind, value: make_mark(kind, value, key))
    return Placeholders().fill_in(marked)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"key {KEY} end", "key <API_KEY_1> end"),
        (f"use {TOKEN}.", "use <API_KEY_1>."),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer <API_KEY_1>"),
        ("api_key = 'x9k2m4n6p8q0r2s4'", "api_key = '<API_KEY_1>'"),
        ("Password: Tr0ub4dor&3", "Password: <PASSWORD_1>"),
        ("the password is hunter42!", "the password is <PASSWORD_1>"),
        ("dbPassword='letmein'", "dbPassword='<PASSWORD_1>'"),
        ("mysql --password gEh3im -h db", "mysql --password <PASSWORD_1> -h db"),
        ("Server=db;Password=s3cret99;Port=1", "<CONNECTION_STRING_1>"),
        ("go to postgres://bob:geheim7@db.local/x.", "go to <CONNECTION_STRING_1>."),
        ("card 4111 1111 1111 1111 ok", "card <CARD_1> ok"),
        ("amex 378282246310005", "amex <CARD_1>"),
        ("IBAN DE89 3704 0044 0532 0130 00 and", "IBAN <IBAN_1> and"),
        ("SSN 536-22-8145", "SSN <NATIONAL_ID_1>"),
        ("her tax id is 86095742719", "her tax id is <NATIONAL_ID_1>"),
        ("NINO AB 12 34 56 C", "NINO <NATIONAL_ID_1>"),
        ("a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.SflKxwRJSMeKKF2QT z", "a <JWT_1> z"),
        ("mail Bob@example.org or call 0211 1234567", "mail <EMAIL_1> or call <PHONE_1>"),
        ("ring (212) 555-0147 x12 now", "ring <PHONE_1> now"),
        ("host 10.1.2.3, gateway fe80::1a2b:3c4d", "host <IP_1>, gateway <IP_2>"),
    ],
)
def test_private_value_becomes_a_placeholder_of_its_kind(text: str, masked: str):
    assert mask(text) == masked


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_private_key_is_replaced_as_a_whole(is_cut_off: bool):
    begin, end = "-----BEGIN RSA PRIVATE " + "KEY-----", "-----END RSA PRIVATE " + "KEY-----"
    lines = [begin, "MIIEowIBAAKCAQEAx1y2z3", "a1B2c3D4e5F6g7H8i9J0k1", "" if is_cut_off else end]
    assert mask("a\n" + "\n".join(lines) + "\nb").split() == ["a", "<PRIVATE_KEY_1>", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "Password: required",
        "The password must have 12 characters.",
        "password is never shared with anybody",
        "Passwords: see the password policy",
        "password = os.environ['DB_PASS'] or read_secret(name)",
        "PASSWORD=${DB_PASSWORD} and pwd: <your password>",
        "Order 4111 1111 1111 1112 was shipped",  # fails Luhn
        "DE89 3704 0044 0532 0130 01",  # fails mod 97
        "Part HI-4010, serial 2024-01-12345, version 2.14.0.3",
        "Codes 000-12-3456 and 666-12-3456",
        "The secret is out, and the token of thanks was a key.",
        "https://portal.example/login?next=a@b",
        "postgres://localhost:5432/dev",
        "commit be76c2d982080df077b6f7f7f784d0bbbc37ee8b",
        "ISBN 978-3-16-148410-0, logo@2x.png, std::vector<int>, 127.0.0.1, 00:1a:2b:3c:4d:5e",
        "from 01.02.2024 to 28.02.2024, 08:00-17:30, EUR 1,234,567.89",
    ],
)
def test_ordinary_text_is_left_alone(text: str):
    assert mask(text) == text


def test_masking_twice_changes_nothing():
    once = mask(
        f"password: Tr0ub4dor&3 and {KEY}, mail bob@example.org, IBAN DE89370400440532013000"
    )
    assert mask(once) == once


def test_same_value_has_the_same_number_however_it_is_written():
    text = "a@x.de, b@x.de, A@X.de; DE89 3704 0044 0532 0130 00 = de89370400440532013000"
    assert mask(text) == "<EMAIL_1>, <EMAIL_2>, <EMAIL_1>; <IBAN_1> = <IBAN_1>"


def test_mark_does_not_tell_the_value_to_who_has_not_the_key():
    # oracle: a keyed hash; under another key the same value has another mark
    marks = {make_mark("email", "bob@example.org", bytes([n]) * KEY_BYTES) for n in range(3)}
    assert len(marks) == 3 and not any("bob" in mark for mark in marks)


def test_text_cannot_forge_a_mark():
    forged = make_mark("email", "x", bytes(KEY_BYTES))
    assert Placeholders().fill_in(drop_marks(forged)) == forged[1:-1]


def test_words_of_a_list_are_found_whole_and_in_any_capitals():
    policy = ScrubPolicy(kinds=(), words=("Project Nightjar", "Ada Byron", "Nightjar"))
    text = (
        "Project  NIGHTJAR is led by ada byron's team; nightjars and Adamant stay, Nightjar goes."
    )
    assert mask(text, policy) == (
        "<NAME_1> is led by <NAME_2>'s team; nightjars and Adamant stay, <NAME_3> goes."
    )


def test_kept_values_stay():
    policy = make_policy(DocumentsRecipe(mask_except=("*@Halden.example", "ip", "0211 1234567")))
    text = "service@halden.example, bob@home.example, 10.1.2.3, 0211 1234567, 0211 7654321"
    assert mask(text, policy) == (
        "service@halden.example, <EMAIL_1>, 10.1.2.3, 0211 1234567, <PHONE_1>"
    )


@pytest.mark.parametrize(
    ("recipe", "masked"),
    [
        (DocumentsRecipe(mask_contacts=False), "bob@x.example <API_KEY_1> Ada"),
        (DocumentsRecipe(mask_secrets=False), f"<EMAIL_1> {KEY} Ada"),
        (DocumentsRecipe(mask_secrets=False, mask_contacts=False), f"bob@x.example {KEY} Ada"),
        (DocumentsRecipe(mask_words=("ada",)), "<EMAIL_1> <API_KEY_1> <NAME_1>"),
    ],
)
def test_recipe_chooses_what_is_replaced(recipe: DocumentsRecipe, masked: str):
    assert mask(f"bob@x.example {KEY} Ada", make_policy(recipe)) == masked


def test_values_are_found_in_every_piece_of_a_long_text():
    # oracle: one value in every line; pieces of 131,072 characters are looked at one by one
    lines = [
        f"line {number} mail user{number}@example.org and more words" for number in range(9_000)
    ]
    found = find_private("\n".join(lines), EVERYTHING)
    assert Counter(each.kind for each in found) == {"email": 9_000}
    one_line = find_private(" ".join(lines), EVERYTHING)
    assert len(one_line) == 9_000


@pytest.mark.parametrize(
    "unit",
    ["password=", "password=aa1a;", "://", "eyJa1a1a1a1a.", "@", "1 ", ":", "-----BEGIN ", "a-"],
)
@pytest.mark.timeout(60)
def test_hostile_text_takes_no_more_than_linear_time(unit: str):
    # oracle: anything quadratic in the length would take hours on this
    text = unit * (100_000 // len(unit))
    assert isinstance(find_private(text, EVERYTHING), list)


def test_false_alarms_are_rare_in_a_real_handbook(real_documents: Path):
    # oracle: public handbooks and a textbook hold no secrets (but two links with web tokens) and no
    # machine's address; 2 MB of markdown
    found: Counter[str] = Counter()
    for corpus in ("18f-handbook", "clef-handbook", "openstax-intellectual-property"):
        for path in (real_documents / corpus).rglob("*.md"):
            text = path.read_text(encoding="utf-8")
            found.update(each.kind for each in find_private(text, EVERYTHING))
    assert found.pop("email") > 300 and 25 < found.pop("phone") < 40
    assert found.total() <= 2
