# ruff: noqa: E501 (rows of templates read better as rows)
"""The outside set: values and look-alikes that other people's generators made.

`outside_values.json` was made once with Faker 40 (38 countries) and, for keys, from the token shapes
of detect-secrets 1.5 (but Artifactory's, which fit ordinary words); only the sentences around them
are ours. The patterns had been tried on an earlier draw from the same generators, by other countries.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.documents.scrub_sets.cases import Case

_CONTEXTS = {
    "email": ("Ask {v} about it.", "Reply-To: {v}", "mail;{v};7", "contact is {v}", "[{v}]"),
    "phone": ("Phone: {v}", "tel {v}", "Our telephone number is {v}.", "call {v}", "mobile,{v},home", "Telefon {v}"),
    "iban": ("IBAN {v}", "pay to {v}, thanks", "account={v}", "| {v} | EUR |"),
    "card": ("credit card {v}", "Visa {v} (exp 04/28)", "card no: {v}", "card={v}&cvc=123"),
    "national_id": ("SSN: {v}", "national id {v}", "ID number {v}", "tax id: {v}", "personal id,{v}", "identity {v} ok"),
    "ip": ("host {v}", "login from {v}", "server={v}", "IP address: {v}", "ping {v} fails"),
    "password": ("password: {v}", "Password = {v}", "pwd={v}", "the password is {v}", '"password": "{v}"', "PASSWORD={v}"),
    "api_key": ("token {v}", "key: {v}", 'auth = "{v}"', "{v}", "we use {v} today"),
}  # fmt: skip
_DECOY_CONTEXTS = ("{v}", "see {v}", "It says {v} here.", "| {v} | x |", "value: {v}")


def make_outside(seed: int = 1) -> list[Case]:
    """All cases, each value once."""
    rng = Random(seed)
    made = json.loads(Path(__file__).with_name("outside_values.json").read_text(encoding="utf-8"))
    values = [
        Case(kind=kind, text=rng.choice(_CONTEXTS[kind]).replace("{v}", value), value=value)
        for kind, found in made["values"].items()
        for value in found
    ]
    decoys = [
        Case(kind=kind, text=rng.choice(_DECOY_CONTEXTS).replace("{v}", value))
        for kind, found in made["decoys"].items()
        for value in found
    ]
    return values + decoys
