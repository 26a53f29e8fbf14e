"""A company folder of any size, made by a script: the same bytes for the same size and seed.

Medium-sized files of seven formats, in words and sentence lengths of real English text; every
twentieth file is an old version of another, every fiftieth a copy, many share a footer, some hold
e-mail addresses. No real person's data is in it.
"""

from __future__ import annotations

import io
import lzma
import math
import random
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
_WORDS = ROOT / "appliance" / "dataset" / "general" / "replay.txt.xz"

TEXT_BYTES, SPREAD = 24_000, 0.8
"""Median size of a file, and the standard deviation of its logarithm."""

SHARES = {"md": 40, "txt": 15, "html": 15, "csv": 10, "eml": 5, "docx": 10, "pdf": 5}
"""Of a hundred files."""

TEXT_SHARES = {"md": 44, "txt": 20, "html": 18, "csv": 10, "eml": 5, "docx": 2, "pdf": 1}
"""The same with fewer of the formats that take long to read: for folders of gigabytes."""

_FILES_PER_FOLDER = 500
_FOOTER = "Internal use only. Questions about this page go to the service desk."

Section = tuple[str, list[str]]
"""Heading and paragraphs."""


def write_folder(folder: Path, num_bytes: int, shares: dict[str, int], seed: int = 1) -> int:
    """Write files until their bytes reach a sum.

    Args:
        folder: made if it is not there.
        num_bytes: the sum.
        shares: of the formats.
        seed: another one gives other text.

    Returns:
        How many files there are.
    """
    maker = _Maker(seed, shares)
    written = number = 0
    while written < num_bytes:
        place = folder / f"department-{number // _FILES_PER_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        name, data = maker.make_file(number)
        (place / name).write_bytes(data)
        written += len(data)
        number += 1
    return number


class _Maker:
    """Files one after the other; remembers the last few, to copy them."""

    def __init__(self, seed: int, shares: dict[str, int]) -> None:
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        counts = Counter(lzma.decompress(_WORDS.read_bytes()).decode().split())
        self._words = np.array(list(counts), dtype=object)
        often = np.array(list(counts.values()), dtype=float)
        self._limits = np.cumsum(often / often.sum())
        self._kinds, self._shares = list(shares), list(shares.values())
        self._recent: list[list[Section]] = []

    def make_file(self, number: int) -> tuple[str, bytes]:
        """Name and content of a file."""
        (kind,) = self._random.choices(self._kinds, self._shares)
        sections = self._make_sections()
        if number % 20 == 7 and self._recent:
            sections = self._revise(self._random.choice(self._recent))
        elif number % 50 == 11 and self._recent:
            sections = self._random.choice(self._recent)
        self._recent = [*self._recent[-30:], sections]
        return f"{kind}-{number:06}.{kind}", _WRITERS[kind](sections)

    def _make_sections(self) -> list[Section]:
        size = int(TEXT_BYTES * math.exp(self._random.gauss(0, SPREAD)))
        found = np.searchsorted(self._limits, self._numbers.random(size // 6))
        words = self._words[np.minimum(found, len(self._words) - 1)].tolist()
        sections: list[Section] = []
        while words:
            heading, paragraphs = " ".join(words[:4]).strip("#|").capitalize() or "Part", []
            del words[:4]
            for _ in range(self._random.randint(2, 6)):
                taken = self._random.randint(30, 120)
                paragraph, words = " ".join(words[:taken]), words[taken:]
                if paragraph:
                    paragraphs.append(paragraph + self._sign())
            sections.append((heading, paragraphs))
        if self._random.random() < 0.3:
            sections[-1][1].append(_FOOTER)
        return sections

    def _sign(self) -> str:
        """Now and then an address of somebody who does not exist."""
        if self._random.random() > 0.01:
            return "."
        return f". Write to user{self._random.randrange(10**6)}@example.org."

    def _revise(self, sections: list[Section]) -> list[Section]:
        """An old version: a paragraph in twenty is another."""

        def revise(paragraph: str) -> str:
            return paragraph if self._random.random() > 0.05 else "It was dropped."

        return [(heading, [*map(revise, paragraphs)]) for heading, paragraphs in sections]


def _write_md(sections: list[Section]) -> bytes:
    parts = (f"## {heading}\n\n" + "\n\n".join(body) for heading, body in sections)
    return ("\n\n".join(parts) + "\n").encode()


def _write_txt(sections: list[Section]) -> bytes:
    return "\n\n".join(part for heading, body in sections for part in (heading, *body)).encode()


def _write_html(sections: list[Section]) -> bytes:
    parts = (
        f"<h2>{escape(heading)}</h2>" + "".join(f"<p>{escape(part)}</p>\n" for part in body)
        for heading, body in sections
    )
    return f"<!doctype html><html><body>{''.join(parts)}</body></html>".encode()


def _write_csv(sections: list[Section]) -> bytes:
    rows = ["Number;Topic;Notes"]
    for number, (heading, body) in enumerate(sections):
        clean = (part.replace(";", ",").replace('"', "'") for part in body)
        rows += [f"{number};{heading.replace(';', ',')};{part}" for part in clean]
    return "\n".join(rows).replace('"', "'").encode()


def _write_eml(sections: list[Section]) -> bytes:
    head = "From: Desk <desk@example.org>\nSubject: Notes\nContent-Type: text/plain; charset=utf-8"
    return f"{head}\nContent-Transfer-Encoding: 8bit\n\n".encode() + _write_txt(sections)


def _write_docx(sections: list[Section]) -> bytes:
    def paragraph(text: str, style: str = "") -> str:
        look = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f'<w:p>{look}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'

    body = "".join(
        paragraph(heading, "Heading2") + "".join(map(paragraph, parts))
        for heading, parts in sections
    )
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _DOCX_PARTS.items():
            archive.writestr(zipfile.ZipInfo(name), text.replace("BODY", body))
    return buffer.getvalue()


_OFFICE = "http://schemas.openxmlformats.org"
_DOCX_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_OFFICE}/package/2006/content-types"><Default '
    'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.wordprocessingml.document.main+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship '
    f'Id="r1" Type="{_OFFICE}/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>',
    "word/document.xml": f'<w:document xmlns:w="{_OFFICE}/wordprocessingml/2006/main"><w:body>BODY'
    "</w:body></w:document>",
}


def _write_pdf(sections: list[Section]) -> bytes:
    """Lines of 12 points on pages of 50 lines, in a built-in font."""
    lines: list[str] = []
    for text in (part for heading, body in sections for part in (heading, *body)):
        words = text.encode("latin-1", "replace").decode("latin-1").split()
        lines += [" ".join(words[start : start + 12]) for start in range(0, len(words), 12)]
    pages = [lines[start : start + 50] for start in range(0, len(lines), 50)]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for number, page in enumerate(pages):
        shown = (line.translate(_PDF_SIGNS) for line in page)
        drawing = "BT /F1 8 Tf 40 800 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in shown)
        stream = zlib.compress(f"{drawing} ET".encode("latin-1"))
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {5 + 2 * number} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>".encode(),
            f"<</Length {len(stream)}/Filter/FlateDecode>>stream\n".encode()
            + stream
            + b"\nendstream",
        ]
    return _join_pdf(objects)


_PDF_SIGNS = str.maketrans({"(": r"\(", ")": r"\)", "\\": r"\\"})


def _join_pdf(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start, count = len(out), len(objects) + 1
    rows = "".join(f"{place:010} 00000 n \n" for place in places)
    out += f"xref\n0 {count}\n0000000000 65535 f \n{rows}".encode()
    out += f"trailer<</Size {count}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


_WRITERS: dict[str, Callable[[list[Section]], bytes]] = {
    "md": _write_md,
    "txt": _write_txt,
    "html": _write_html,
    "csv": _write_csv,
    "eml": _write_eml,
    "docx": _write_docx,
    "pdf": _write_pdf,
}
