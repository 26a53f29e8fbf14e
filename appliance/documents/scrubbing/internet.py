"""E-mail addresses and addresses of machines."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from appliance.documents.scrubbing.finding import Finding, Piece

_LOCAL = re.compile(r"[\w.+%&'-]+\Z")
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}([^\W\d_]{2,24}|xn--[\w-]{2,24})(?![\w-]|\.\w)")
_FILE_ENDS = re.compile(r"png|jpe?g|gif|svg|webp|ico|css|js|ts|py|md|html?|pdf|json", re.I)
"""Ends of file names: `logo@2x.png` is a picture."""

_IPV4 = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\w)"
)
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\.\d{1,3}){3})?(?![\w:]|\.\w)"
)
_IPV6_HINT = re.compile(r":(?=[0-9A-Fa-f]{0,4}:)")
_HEX_END = re.compile(r"[0-9A-Fa-f]{1,4}\Z")
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:version\w*|releases?|build|firmware|fw|driver|treiber|software|update|upgrade\w*|patch|"
    r"v|ver|rev\w*|section|sec|chapter|since|install\w*|kapitel|abschnitt|clause|paragraph|para|article|annex|schema)"
    r"(?: to)?|§|==|>=)[\s\"'.:=@(-]{0,4}\Z"
)
_ADDRESS_BEFORE = re.compile(
    r"(?:\bip(?:v4|v6)?|host\w*|server\w*|address\w*|adresse|gateway|router|dns|nameserver|subnet|"
    r"netmask|network|netz\w*|proxy|ping|ssh|telnet|from|unter|at|via|allow|deny|client|peer|node|"
    r"listen\w*|bind|endpoint|switch|printer|drucker|firewall|vpn|vlan|src|dst|@|//)"
    r"[\s\w\"'=:([@-]{0,16}\Z"
)


def find_emails(piece: Piece) -> Iterator[Finding]:
    """Addresses of mail, outward from each `@`."""
    text = piece.text
    place = text.find("@")
    while place >= 0:
        local = _LOCAL.search(text, max(0, place - 64), place)
        domain = _DOMAIN.match(text, place + 1) if local else None
        if local and domain and not _FILE_ENDS.fullmatch(domain[1]):
            lead = len(local[0]) - len(local[0].lstrip("'.-&%"))
            if lead < len(local[0]):
                yield Finding(kind="email", start=local.start() + lead, end=domain.end())
        place = text.find("@", place + 1)


def find_addresses(piece: Piece) -> Iterator[Finding]:
    """IP addresses but for those that say nothing (loopback, netmasks); versions are left alone."""
    text = piece.text
    for number in piece.numbers:
        if text.count(".", number.start, number.end) < 3:
            continue
        end = min(len(text), number.end + 2)
        for match in _IPV4.finditer(text, max(0, number.start - 2), end):
            if _is_address(piece, match):
                yield Finding(kind="ip", start=match.start(), end=match.end())
    done = 0
    for hint in _IPV6_HINT.finditer(text):
        lead = _HEX_END.search(text, max(0, hint.start() - 5), hint.start())
        found = _IPV6.match(text, lead.start() if lead else hint.start())
        if found and found.start() >= done and _is_ipv6(found[0]):
            done = found.end()
            yield Finding(kind="ip", start=found.start(), end=found.end())


def _is_address(piece: Piece, match: re.Match[str]) -> bool:
    """Whether four numbers are an address rather than a version or a section.

    Both look alike. Words before them decide; without any, private networks and large numbers do.
    """
    octets = [int(part) for part in match[0].split(".")]
    if octets[0] in (0, 127) or octets[:2] == [255, 255]:
        return False
    if any(len(part) > 1 and part[0] == "0" for part in match[0].split(".")):
        return False
    before = piece.look_before(match.start())
    if _VERSION_BEFORE.search(before):
        return False
    after = piece.text[match.end() : match.end() + 3]
    if _ADDRESS_BEFORE.search(before) or re.match(r"/\d|:\d", after):
        return True
    return octets[0] == 10 or max(octets) >= 100


def _is_ipv6(text: str) -> bool:
    """Whether it is an address rather than a name in code, such as `a1b2::c3`."""
    if len(text) < 6 or not any(map(str.isdigit, text)):
        return False
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    is_outlandish = address.is_reserved and address.ipv4_mapped is None and "::" in text
    return not address.is_loopback and not is_outlandish
