from __future__ import annotations

import json
from pathlib import PurePath

import pytest

from appliance.documents.readers.choose import read_file
from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import UnreadableFile
from appliance.documents.readers.html import convert_fragment
from appliance.documents.readers.plain import read_restructured
from appliance.documents.readers.records import tidy_conversation

CSV, JSONL = PurePath("a.csv"), PurePath("a.jsonl")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("naïve £5".encode("cp1252"), "naïve £5"),
        (("Работа с датчиком. " * 9).encode("cp1251"), "Работа с датчиком. " * 9),
        ("Grüße aus Köln, schöne Straße".encode("cp1252"), "Grüße aus Köln, schöne Straße"),
        ("plain ü".encode("utf-8-sig"), "plain ü"),
        ("wide ü text".encode("utf-16"), "wide ü text"),
        ("wide text without a mark".encode("utf-16-le"), "wide text without a mark"),
    ],
)
def test_encoding_is_found(data: bytes, text: str):
    assert decode_text(data) == text


def test_binary_is_not_text():
    with pytest.raises(UnreadableFile, match="not text"):
        decode_text(bytes(range(256)) * 20)


def test_csv_rows_become_lines_with_their_column_names():
    data = b"part_number;Description;price_eur\nHI-1;Sensor, long;12\nHI-2;Cap;3\n"
    assert read_file(data, CSV).text.splitlines() == [
        "- Part number: HI-1; Description: Sensor, long; Price eur: 12",
        "- Part number: HI-2; Description: Cap; Price eur: 3",
    ]


def test_csv_of_questions_becomes_conversations():
    extract = read_file(b"id,Question,Answer\n1,What is E05?,Calibration is overdue.\n", CSV)
    assert extract.text == ""
    assert extract.conversations == (
        (("user", "What is E05?"), ("assistant", "Calibration is overdue.")),
    )


def test_csv_of_tickets_joins_subject_and_description():
    data = (
        b"ticket,subject,description,resolution\n7,E05,It beeps.,Calibrate it.\n8,Open,No idea.,\n"
    )
    extract = read_file(data, CSV)
    assert extract.conversations == (
        (("user", "E05\n\nIt beeps."), ("assistant", "Calibrate it.")),
    )
    assert "Subject: Open" in extract.text


def test_csv_without_a_header_keeps_every_cell():
    assert read_file(b"1,2\n3,4\n", CSV).text == "- 1 ; 2\n- 3 ; 4"


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "completion": "A"},
        {"question": "Q", "answer": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]},
                      {"role": "assistant", "content": "A"}]},
    ],
)  # fmt: skip
def test_json_lines_of_every_chat_shape_are_conversations(record: dict):
    extract = read_file(json.dumps(record).encode(), JSONL)
    assert extract.conversations == ((("user", "Q"), ("assistant", "A")),)


def test_json_lines_count_broken_lines():
    lines = [json.dumps({"text": "x" * 300}), '{"a": 1, "b": 2}', "{broken"]
    extract = read_file("\n".join(lines).encode(), JSONL)
    assert "- A: 1; B: 2" in extract.text
    assert extract.remark == "1 lines are not JSON and were left out"


def test_json_object_with_a_list_of_records_is_unpacked():
    data = json.dumps({"data": [{"question": "Q", "answer": "A"}]}).encode()
    assert len(read_file(data, PurePath("a.json")).conversations) == 1


def test_json_nested_too_deep_is_refused():
    with pytest.raises(UnreadableFile):
        read_file(b"[" * 200_000, PurePath("a.json"))


def test_conversations_start_with_a_question_and_end_with_an_answer():
    turns = [
        ("assistant", "Welcome"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"),
    ]  # fmt: skip
    assert tidy_conversation(turns) == (("user", "a\n\nb"), ("assistant", "c"))
    assert tidy_conversation([("user", "nobody answered")]) is None


def test_restructured_text_gets_headings():
    data = b"=====\nTitle\n=====\n\nPart\n----\n\n"
    data += b".. image:: x.png\n   :alt: y\n\nSee :ref:`that <x>`.\n"
    text = read_restructured(data, PurePath("a.rst")).text
    assert "# Title" in text and "## Part" in text and "See that." in text and "alt" not in text


def test_html_of_any_depth_keeps_its_text():
    text = convert_fragment("<div>" * 50_000 + "deep" + "</div>" * 50_000)
    assert text == "deep"


def test_html_fragment_keeps_headings_lists_and_tables():
    html = "<h2>A</h2><p>b<script>x()</script></p><ul><li>c<li>d</ul>"
    html += "<table><tr><th>e<th>f<tr><td>1<td>2</table>"
    text = convert_fragment(html)
    assert text.startswith("## A\n\nb\n\n")
    assert "- c" in text and "- d" in text
    assert text.endswith("| e | f |\n| --- | --- |\n| 1 | 2 |")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("photo.jpg", "picture"),
        ("talk.mp4", "sound or video"),
        ("all.zip", "archive"),
        ("x.parquet", "parquet"),
    ],
)
def test_unsupported_kinds_say_what_to_do(name: str, reason: str):
    with pytest.raises(UnreadableFile, match=reason) as caught:
        read_file(b"something", PurePath(name))
    assert caught.value.fix
