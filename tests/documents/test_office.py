from __future__ import annotations

import io
from pathlib import Path, PurePath

import docx
import openpyxl
import pptx
import pytest

from appliance.documents.readers.choose import read_file
from appliance.documents.readers.extract import UnreadableFile
from appliance.documents.readers.office import FALLBACKS, _drop_running_lines


def make_docx() -> bytes:
    document = docx.Document()
    document.add_heading("Visitors", level=1)
    document.add_paragraph("Every visitor signs the book at the gate.")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("Day", "Gate"), ("Monday", "North")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    return save(document)


def make_xlsx() -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (("Part", "Price"), ("HI-1", 12), ("HI-2", 3)):
        book.active.append(row)
    return save(book)


def make_pptx() -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Safety first"
    slide.placeholders[1].text = "Wear goggles in the laboratory."
    return save(deck)


def save(thing) -> bytes:
    buffer = io.BytesIO()
    thing.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("only_fallback", [False, True])
@pytest.mark.parametrize(
    ("suffix", "make", "expected"),
    [
        (".docx", make_docx, ["# Visitors", "signs the book", "| Monday | North |"]),
        (".xlsx", make_xlsx, ["## Prices", "- Part: HI-1; Price: 12", "- Part: HI-2; Price: 3"]),
        (".pptx", make_pptx, ["## Safety first", "Wear goggles in the laboratory."]),
    ],
)
def test_both_readers_find_the_same(suffix, make, expected, only_fallback):
    text = read_file(make(), PurePath(f"a{suffix}"), only_fallback=only_fallback).text
    for piece in expected:
        assert piece in text


def test_misnamed_files_are_read_by_their_content():
    assert "signs the book" in read_file(make_docx(), PurePath("a.pdf")).text
    html = b"<!DOCTYPE html><html><body><h1>Title</h1><p>Words on a page.</p></body></html>"
    assert "Words on a page" in read_file(html, PurePath("a.docx")).text
    assert "just words" in read_file(b"just words, no pdf at all", PurePath("a.pdf")).text


@pytest.mark.parametrize("suffix", [".docx", ".xlsx", ".pptx", ".pdf", ".epub"])
def test_damaged_file_is_refused_without_quoting_it(suffix: str):
    magic = b"%PDF-1.7\n" if suffix == ".pdf" else b"PK\x03\x04"
    with pytest.raises(UnreadableFile) as caught:
        read_file(magic + b"\x00private words\xff" * 40, PurePath(f"a{suffix}"))
    assert "private" not in str(caught.value)


def test_two_pdf_readers_agree_on_the_words(real_documents: Path):
    data = (real_documents / "formats/kreuzberg/sample_contract.pdf").read_bytes()
    first = read_file(data, PurePath("a.pdf")).text
    second = FALLBACKS[".pdf"](data, PurePath("a.pdf")).text
    words = set(second.split())
    assert len(words & set(first.split())) >= 0.85 * len(words)


def test_formats_of_other_projects_are_read_or_refused(real_documents: Path):
    # oracle: every file gives letters or a reason; a tenth of them is checked here
    files = sorted(p for p in (real_documents / "formats").rglob("*.*") if p.name != "SOURCE.md")
    num_read = 0
    for path in files[::10]:
        try:
            extract = read_file(path.read_bytes(), path)
        except UnreadableFile as exc:
            assert exc.reason and exc.fix
        else:
            num_read += 1
            assert extract.text.strip() or extract.conversations
    assert num_read >= 0.6 * len(files[::10])


def test_running_page_lines_stay_once():
    rules = ["\n\n".join(f"Rule {n}.{m} is about door {m}." for m in range(8)) for n in range(5)]
    pages = [f"Acme - Safety rules\n\n{rule}\n\nSame twice" for rule in rules]
    text = _drop_running_lines("\n\n".join([*pages[:4], pages[4].split("\n\nSame")[0]]), 5)
    assert text.count("Acme - Safety rules") == 1
    assert all(rule in text for rule in rules)


def test_labels_of_forms_are_no_running_lines():
    pages = [f"Repair order\n\nNumber {n}\n\nBody labour\n\n2 150 300" for n in range(5)]
    assert _drop_running_lines("\n\n".join(pages), 5) == "\n\n".join(pages)
