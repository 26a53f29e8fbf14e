"""Formats that are read by readers of our own: zip, mail boxes, xml, code, unknown text."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path, PurePath

import pypdfium2
import pytest

from appliance.documents.clean import clean_text
from appliance.documents.readers.choose import find_readers, read_file
from appliance.documents.readers.extract import UnreadableFile

from .conftest import ReadFolder

WORDS = "The pump in hall three is checked by the night shift every second day."


def make_zip(**members: bytes | str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_members_of_a_zip_are_documents_of_their_own(docs: Path, read_folder: ReadFolder):
    (docs / "share.zip").write_bytes(
        make_zip(
            **{"inner/pump.md": f"# Pump\n\n{WORDS}", "photo.jpg": b"\xff\xd8", "again.zip": b"PK"}
        )
    )
    reading = read_folder(docs)
    assert reading.documents["share.zip/inner/pump.md"].title == "Pump"
    verdicts = reading.verdicts
    assert set(verdicts) == {
        "good.md", "share.zip/inner/pump.md", "share.zip/photo.jpg", "share.zip/again.zip",
    }  # fmt: skip
    assert "picture" in verdicts["share.zip/photo.jpg"].reason
    assert "inside an archive" in verdicts["share.zip/again.zip"].reason
    assert {v.archive for v in verdicts.values()} == {"", "share.zip"}
    assert reading.corpus.num_files == 4
    assert [(e.done, e.total) for e in reading.events if hasattr(e, "done")] == [(1, 2), (2, 2)]


def test_document_that_is_named_zip_is_read_as_what_it_is(docs: Path, read_folder: ReadFolder):
    from .test_office import make_docx

    (docs / "letter.zip").write_bytes(make_docx())
    assert "signs the book" in read_folder(docs).documents["letter.zip"].text


def test_same_document_in_a_zip_and_beside_it_is_used_once(docs: Path, read_folder: ReadFolder):
    (docs / "share.zip").write_bytes(make_zip(**{"good.md": (docs / "good.md").read_text()}))
    verdict = read_folder(docs).verdicts["share.zip/good.md"]
    assert (verdict.verdict, verdict.duplicate_of) == ("duplicate", "good.md")


MBOX = b"""From ada@example.org Mon Mar  3 09:00:00 2025
From: Ada <ada@example.org>
Subject: Pump P3
Message-ID: <1@example.org>

How often is the pump checked?

From bob@example.org Mon Mar  3 10:00:00 2025
From: Bob <bob@example.org>
Subject: Re: Pump P3
Message-ID: <2@example.org>
In-Reply-To: <1@example.org>

Every second day.

On Mon, 3 Mar 2025, Ada wrote:
> How often is the pump checked?
--
Bob, hall three

From cyd@example.org Tue Mar  4 10:00:00 2025
From: Cyd <cyd@example.org>
Subject: =?utf-8?q?Canteen_caf=C3=A9?=
Message-ID: <3@example.org>
Content-Type: text/html

<p>The canteen is <b>closed</b> on Friday.</p>
"""


def test_answered_mail_is_a_conversation_and_other_mail_is_text():
    extract = read_file(MBOX, PurePath("a.mbox"))
    assert extract.conversations == (
        (("user", "Pump P3\n\nHow often is the pump checked?"), ("assistant", "Every second day.")),
    )
    assert "## Canteen café" in extract.text
    assert "The canteen is closed on Friday." in extract.text
    assert "example.org" not in extract.text and "hall three" not in extract.text


def test_mail_without_references_is_tied_by_its_subject():
    box = MBOX.replace(b"In-Reply-To: <1@example.org>\n", b"")
    assert len(read_file(box, PurePath("a.mbox")).conversations) == 1


def test_mail_that_asks_nothing_is_no_conversation():
    extract = read_file(MBOX.replace(b"?", b"."), PurePath("a.mbox"))
    assert extract.conversations == ()
    assert "Every second day." in extract.text


def test_xml_records_become_lines_and_questions_conversations():
    data = b"""<?xml version="1.0"?><faq><QAPair pid="1"><Question>What is E05?</Question>
    <Answer>Calibration is overdue.</Answer></QAPair>
    <part no="7"><name>Cap</name><price>3</price></part></faq>"""
    extract = read_file(data, PurePath("a.xml"))
    assert extract.conversations == (
        (("user", "What is E05?"), ("assistant", "Calibration is overdue.")),
    )
    assert extract.text == "- No: 7; Name: Cap; Price: 3"


def test_xml_titles_become_headings_and_mixed_text_paragraphs():
    data = (
        b'<?xml version="1.0" encoding="iso-8859-1"?><book><title>Pumps</title><section>'
        b"<title>Caf\xe9</title><para>Check the <b>seal</b> weekly.</para></section></book>"
    )
    extract = read_file(data, PurePath("a.xml"))
    assert extract.text == "# Pumps\n\n## Café\n\nCheck the seal weekly."
    assert extract.title == "Pumps"


def test_xml_that_is_not_well_formed_keeps_its_text():
    extract = read_file(b"<a><b>Words that stand here</a>", PurePath("a.xml"))
    assert "Words that stand here" in extract.text and "not well-formed" in extract.remark


def test_real_xml_of_questions_gives_their_pairs(real_documents: Path):
    # oracle: the tags in the file, counted by hand
    files = sorted((real_documents / "qa").rglob("*.xml"))[:5]
    for path in files:
        data = path.read_bytes()
        assert len(read_file(data, path).conversations) == data.count(b"</Answer>")


@pytest.mark.parametrize(
    "record",
    [
        {"system": "S", "conversations": [{"from": "human", "value": "Q"},
                                          {"from": "gpt", "value": "A"}]},
        {"system": "S", "instruction": "Q", "output": "A"},
        {"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}],
         "completion": [{"role": "assistant", "content": "A"}]},
        {"system": "S", "prompt": "Q", "chosen": "A", "rejected": "B"},
    ],
)  # fmt: skip
def test_json_lines_keep_the_system_turn(record: dict):
    extract = read_file(json.dumps(record).encode(), PurePath("a.jsonl"))
    assert extract.conversations == ((("system", "S"), ("user", "Q"), ("assistant", "A")),)


def test_json_lines_of_short_texts_are_paragraphs_not_fields():
    data = '{"text": "One\u2028two."}\n{"text": "Three.", "id": 4}\n'.encode()
    assert read_file(data, PurePath("a.jsonl")).text == "\nOne\u2028two.\n\n\nThree.\n"


def test_code_stays_as_it_is_behind_a_fence():
    code = '# Not a heading\n\ndef f(_a_, *b*):\n    """```\n    x\n```"""\n    return "<td>"'
    text = clean_text(read_file(code.encode(), PurePath("a.py")).text).text
    assert text.startswith("````python\n# Not a heading\n")
    assert 'return "<td>"' in text and "    x\n" in text


def test_long_code_is_cut_at_an_empty_line():
    code = "\n".join([*["x = 1"] * 70, "", *["y = 2"] * 30])
    first, second = read_file(code.encode(), PurePath("a.py")).text.split("\n\n")
    assert "y" not in first.removeprefix("```python") and second.count("y = 2") == 30


def test_text_of_an_unknown_kind_is_read_and_said():
    extract = read_file(WORDS.encode("utf-16"), PurePath("shift.log7"))
    assert extract.text == WORDS and "type .log7" in extract.remark


@pytest.mark.parametrize("data", [bytes(range(256)) * 20, b"QUJDREVG" * 500, b"a b \0 c d"])
def test_data_of_an_unknown_kind_is_refused(data: bytes):
    with pytest.raises(UnreadableFile, match=r"type \.dat"):
        read_file(data, PurePath("a.dat"))


def test_scanned_pages_are_told(real_documents: Path):
    formats = real_documents / "formats"
    with pytest.raises(UnreadableFile, match="seem to be scans") as caught:
        read_file((formats / "kreuzberg/non_searchable.pdf").read_bytes(), PurePath("a.pdf"))
    assert "text recognition" in caught.value.fix
    mixed = pypdfium2.PdfDocument.new()
    for name in ("kreuzberg/searchable.pdf", "kreuzberg/non_searchable.pdf"):
        mixed.import_pages(pypdfium2.PdfDocument(formats / name))
    buffer = io.BytesIO()
    mixed.save(buffer)
    extract = read_file(buffer.getvalue(), PurePath("a.pdf"))
    assert extract.text
    assert "seem to be scans without text" in extract.remark


def test_new_reader_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # oracle: a module in a second folder of the package is found, with nothing else changed
    from appliance.documents import readers

    (tmp_path / "shout.py").write_text(
        "from appliance.documents.readers.extract import Extract\n"
        "READS = {'.shout': lambda data, name: Extract(text=data.decode().upper())}\n"
    )
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path)])
    find_readers.cache_clear()
    try:
        assert read_file(b"hello", PurePath("a.shout")).text == "HELLO"
    finally:
        find_readers.cache_clear()
