"""National identity and tax numbers of people.

Numbers in a shape of their own are taken when their check digits are right, or when a word such as
`tax id` stands before them. Where the shape is just digits, one in ten passes a check by chance:
these need both.
Checks by python-stdnum. Passports and driving licences carry none that a reader could check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

from stdnum.at import vnr
from stdnum.au import tfn
from stdnum.be import nn
from stdnum.bg import egn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.ie import pps
from stdnum.il import idnr as teudat
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.jp import in_ as my_number
from stdnum.kr import rrn
from stdnum.lt import asmens
from stdnum.mx import curp
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.nz import ird
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.ro import cnp
from stdnum.se import personnummer
from stdnum.si import emso
from stdnum.tr import tckimlik
from stdnum.us import itin, ssn
from stdnum.za import idnr as south_african

from appliance.documents.scrubbing.context import OTHERWISE, make_label
from appliance.documents.scrubbing.finding import Finding, Piece

_SHAPES: tuple[tuple[str, str, tuple[ModuleType, ...]], ...] = (
    ("us", r"\d{3}-\d{2}-\d{4}", (ssn, itin)),
    ("es", r"\d{8}-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]", (dni, nie)),
    ("fr", r"[12] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", (nir,)),
    ("it", r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", (codicefiscale,)),
    ("ch", r"756\.?\d{4}\.?\d{4}\.?\d\d", (ahv,)),
    ("be", r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", (nn,)),
    ("nordic", r"(?:19|20)?\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", (hetu, personnummer, cpr)),
    ("cz", r"\d{6}/\d{3,4}", (rc,)),
    ("br", r"\d{3}\.\d{3}\.\d{3}-\d\d", (cpf,)),
    ("cl", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", (rut,)),
    ("pan", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", (pan,)),
    ("aadhaar", r"[2-9]\d{3} \d{4} \d{4}", (aadhaar,)),
    ("mx", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d", (curp,)),
    ("kr", r"\d{6}-[1-8]\d{6}", (rrn,)),
    ("de", r"\d\d \d{3} \d{3} \d{3}", (idnr,)),
    ("no", r"\d{6} \d{5}", (fodselsnummer,)),
    ("cn", r"\d{17}[\dX]", (ric,)),
    ("digits", r"\d{11}|\d{13}", (idnr, cpf, nn, fodselsnummer, tckimlik, pesel, cnp)),
)
"""Name, shape, and whose check digits; of the bare digits, those that chance passes once in 50."""

_SHAPED = re.compile(
    r"(?<![\w.+/-])(?:" + "|".join(f"(?P<{name}>{shape})" for name, shape, _ in _SHAPES) + ")"
    r"(?![\w-]|[./]\d)"
)
_CHECKS = {name: modules for name, _, modules in _SHAPES}

_NINO = re.compile(
    r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]( ?)"
    r"\d\d\1\d\d\1\d\d\1[A-D](?!\w)"
)
_LIKE_NINO = re.compile(r"(?<!\w)[A-Z]{2}(?: ?\d){6} ?[A-Z](?!\w)")
"""A British National Insurance number: a shape and no check digit. Source: HMRC, NIM39110."""

_LABELLED = re.compile(r"(?<![\w.])[A-Z]{0,6}\d(?:[ ./+-]?\d|[A-Z]|[ -][A-Z]\b){6,17}(?!\w)")
_LABELLED_CHECKS = (
    ssn, itin, idnr, dni, nie, nir, codicefiscale, bsn, pesel, cpf, personnummer, cpr, hetu,
    fodselsnummer, nn, ahv, sin, tfn, nhs, ird, pps, nif, oib, egn, cnp, amka, emso, ik, asmens, rc,
    tckimlik, teudat, south_african, aadhaar, pan, my_number, rrn, ric, curp, vnr, rut,
)  # fmt: skip
_MIN_NAMED_DIGITS = 9
_REACH = r"\b[\w\s.,;\"':=#()|-]{0,16}"
_NAME = make_label(
    r"ssn ssns itin social_security social_insurance sozialvers\w* tax_id\w* tax_num\w* "
    r"tax_no tax_nr taxpayer\w* taxid steuer_id\w* steueridentifi\w* steuernummer idnr "
    r"national_id\w* national_insurance national_num\w* nino citizen_id identity_\w+ "
    r"personal_num\w* personal_id personal_code personnummer personnr rentenvers\w* ahv "
    r"bsn burgerservice\w* pesel cpf dni curp codice_fiscale hetu henkilö\w* fødsels\w* "
    r"aadhaar emso isikukood rodné rrn",
    _REACH,
)
"""Names of such numbers: nine digits and more that follow are one, whatever they add up to."""

_LABEL = make_label(
    r"tin tfn tax_file steuer\w* fiscal\w* nin citizen\w* resident\w* identi\w+ ausweis\w* "
    r"id_no id_nr id_num\w* id_card personal_no personal_nr personen\w* versicherung\w* "
    r"insurance avs nir sécurité sociale sofi nie nif cpr sin medicare nhs utr pan pps "
    r"ppsn oib egn cnp amka my_number",
    _REACH,
)
"""Words that may announce one: what follows needs a shape or check digits."""


def find_identities(piece: Piece) -> Iterator[Finding]:
    """Identity numbers: by shape and check digits, or by the words before them and check digits."""
    text = piece.text
    for number in piece.numbers:
        start, end = max(0, number.start - 16), min(len(text), number.end + 12)
        is_named = _NAME.stands_before(number, piece)
        is_labelled = is_named or _LABEL.stands_before(number, piece)
        if text[max(0, number.start - 2) : number.start].strip().isupper():
            for match in (_LIKE_NINO if is_labelled else _NINO).finditer(text, start, end):
                yield Finding(kind="national_id", start=match.start(), end=match.end())
        if not is_labelled and OTHERWISE.stands_before(number, piece):
            continue
        for match in _SHAPED.finditer(text, start, end):
            name = match.lastgroup or ""
            is_enough = is_labelled and name != "digits"
            if is_enough or any(module.is_valid(match[0]) for module in _CHECKS[name]):
                yield Finding(kind="national_id", start=match.start(), end=match.end())
        if is_labelled:
            yield from _find_labelled(text, start, end, is_named=is_named)


def _find_labelled(text: str, start: int, end: int, *, is_named: bool) -> Iterator[Finding]:
    for match in _LABELLED.finditer(text, start, end):
        compact = "".join(filter(str.isalnum, match[0]))
        is_enough = is_named and sum(map(str.isdigit, compact)) >= _MIN_NAMED_DIGITS
        forms = (match[0], compact)
        if is_enough or any(m.is_valid(form) for form in forms for m in _LABELLED_CHECKS):
            yield Finding(kind="national_id", start=match.start(), end=match.end())
