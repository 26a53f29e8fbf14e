"""Hostile text: encodings, long lines, deep nesting, and what regular expressions stumble over."""

from __future__ import annotations

import os

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BILLION_LAUGHS = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><x>&l9;</x>'
SENTENCE = "This sentence stands among things that were made to break a reader. "


def make_texts() -> dict[str, bytes]:
    """Files by name, none larger than a few megabytes."""
    return make_encodings() | make_tables() | make_json() | make_markup() | make_patterns()


def make_encodings() -> dict[str, bytes]:
    return {
        "empty.md": b"",
        "bom_only.txt": b"\xef\xbb\xbf",
        "blank.txt": b" \r\n\t\n" * 500,
        "only_nul.txt": b"\0" * 5_000,
        "some_nul.txt": (SENTENCE + "\0").encode() * 3,
        "noise.txt": os.urandom(20_000),
        "program.txt": b"MZ\x90\x00\x03\x00\x00\x00" + bytes(range(256)) * 40,
        "latin1.txt": "Die Prüfung der Anlage erfolgt jährlich durch Köhler.".encode("cp1252"),
        "odd_utf16.txt": SENTENCE.encode("utf-16") + b"x",
        "utf32.txt": SENTENCE.encode("utf-32"),
        "cut_utf8.txt": ("Grüße " * 20).encode()[:-3] + b"\xc3",
        "overlong_utf8.txt": SENTENCE.encode() + b"\xc0\xaf\xe0\x80\xaf\xf8\x88\x80\x80\x80",
        "surrogates.txt": SENTENCE.encode() + b"\xed\xa0\x80\xed\xb0\x80",
        "escapes.txt": b"\x1b[2J\x1b]0;owned\x07" + SENTENCE.encode(),
        "marks.txt": f"{SENTENCE}\ue000email:0123456789abcdef\ue001 <EMAIL_1>".encode(),
        "one_line.txt": SENTENCE.encode() * 30_000,
        "one_word.txt": b"x" * 2_000_000,
    }


def make_tables() -> dict[str, bytes]:
    return {
        "one_row.csv": b"x," * 1_000_000,
        "many_rows.csv": b"a,b\n" + b"1,2\n" * 20_000,
        "huge_cell.csv": b'a,b\n"' + b"x" * 17_000_000 + b'",1\n',
        "open_quote.csv": b'a,b\n"' + b"never closed,\n" * 50_000,
        "formula.csv": b'name,value\n"=cmd|\' /C calc\'!A0",=HYPERLINK("http://evil.example")\n',
        "nul.csv": b"name,val\0ue\none,tw\0o and more words\n",
        "ragged.csv": b"a,b\n1\n1,2,3,4,5\n,,,\n" * 200,
    }


def make_json() -> dict[str, bytes]:
    return {
        "deep.json": b"[" * 200_000,
        "deep_object.json": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "deep_lines.jsonl": (b"[" * 50_000 + b"\n") * 5 + b'{"text": "one line is good enough"}\n',
        "huge_number.json": b'{"number": ' + b"9" * 100_000 + b', "text": "beside a number"}',
        "infinity.json": b'{"a": 1e999, "b": NaN, "c": -Infinity, "d": "words beside numbers"}',
        "same_keys.json": b'{"a": "first of many keys", ' + b'"a": 1, ' * 50_000 + b'"b": 2}',
        "wide.json": b"[" + b"1," * 100_000 + b"1]",
        "surrogate.json": b'{"text": "a lone \\ud800 surrogate in a sentence, which is no text"}',
        "roles.jsonl": b'{"messages": [{"role": {"a": 1}, "content": 5}, 7, null]}\n' * 20,
        "notebook.ipynb": b'{"cells": ' + b"[" * 50_000,
    }


def make_markup() -> dict[str, bytes]:
    external = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
    remote = '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;]><x>words</x>'
    quadratic = f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><x>{"&a;" * 10_000}</x>'
    attributes = "".join(f' a{n}="v"' for n in range(50_000))
    return {
        "laughs.xml": BILLION_LAUGHS.encode(),
        "quadratic.xml": quadratic.encode(),
        "external.xml": external.encode(),
        "remote.xml": remote.encode(),
        "foreign.xml": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x>&nbsp;words in it</x>',
        "deep.xml": b"<a>" * 200_000 + SENTENCE.encode() + b"</a>" * 200_000,
        "attributes.xml": f"<x{attributes}>{SENTENCE}</x>".encode(),
        "encoding.xml": f'<?xml version="1.0" encoding="klingon"?><x>{SENTENCE}</x>'.encode(),
        "unclosed.xml": b"<a><b>" + SENTENCE.encode() + b"<c attr='",
        "laughs.svg": BILLION_LAUGHS.encode(),
        "deep.html": b"<div>" * 60_000 + SENTENCE.encode(),
        "remote.html": b'<html><img src="http://127.0.0.1:9/a.png"><link rel="stylesheet" '
        b'href="http://127.0.0.1:9/a.css"><p>' + SENTENCE.encode() + b"</p></html>",
        "open_tags.html": b"<html>" + b"<a " * 100_000 + SENTENCE.encode(),
        "open_comment.html": b"<html><p>" + SENTENCE.encode() + b"<!--" * 50_000,
        "declarations.html": b"<html>" + b"<![" * 50_000 + SENTENCE.encode(),
        "entities.html": b"<html><p>" + b"&#x41" * 100_000 + SENTENCE.encode(),
        "tables.html": b"<table><tr><td>" * 5_000 + SENTENCE.encode(),
        "deep.rtf": b"{\\rtf1 " + b"{" * 100_000 + SENTENCE.encode(),
    }


def make_patterns() -> dict[str, bytes]:
    """Markdown and plain text against the cleaner and the scrubber."""
    return {
        "brackets.md": b"[" * 100_000 + SENTENCE.encode(),
        "images.md": b"![[](" * 50_000 + SENTENCE.encode(),
        "shortcodes.md": b"{% {{ " * 50_000 + SENTENCE.encode(),
        "comments.md": b"<!-- " * 50_000 + SENTENCE.encode(),
        "scripts.md": b"<script " * 50_000 + SENTENCE.encode(),
        "tables.md": b"<table> " * 50_000 + SENTENCE.encode(),
        "emphasis.md": b"*_~" * 100_000 + SENTENCE.encode(),
        "ticks.md": b"`" * 100_000 + SENTENCE.encode(),
        "fences.md": b"```\n~~~~\n" * 10_000 + SENTENCE.encode(),
        "front_matter.md": b"---\na: b\n" * 20_000 + SENTENCE.encode(),
        "pipes.md": b"| a " * 100_000 + SENTENCE.encode(),
        "underlines.rst": b"=====\nT\n" * 20_000 + SENTENCE.encode(),
        "roles.rst": b":a:`" * 50_000 + SENTENCE.encode(),
        "ampersands.md": b"&amp;" * 50_000 + SENTENCE.encode(),
        "ats.txt": b"a.b-c@" * 50_000 + SENTENCE.encode(),
        "digits.txt": b"1 2-3." * 50_000 + SENTENCE.encode(),
        "hex.txt": b"0123456789abcdef:" * 20_000 + SENTENCE.encode(),
        "keys.txt": b"-----BEGIN RSA PRIVATE KEY-----\n" * 10_000 + SENTENCE.encode(),
        "tokens.txt": b"eyJhbGciOiJ." * 30_000 + SENTENCE.encode(),
        "passwords.conf": b"password=" * 30_000 + SENTENCE.encode(),
        "addresses.txt": b"postgres://a:" * 20_000 + SENTENCE.encode(),
    }
