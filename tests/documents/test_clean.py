from __future__ import annotations

import pytest

from appliance.documents.clean import clean_text, clean_turn, normalise_characters


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a **bold** and *slanted* and __low__ _word_", "a bold and slanted and low word"),
        ("keep snake_case_names and 5 * 3 * 2", "keep snake_case_names and 5 * 3 * 2"),
        ("see [the guide](https://x.example/a_(b)) now", "see the guide now"),
        ("![logo](a.png)text [![badge](b.svg)](c)", "text"),
        ("a [reference][1] and a note[^2]", "a reference and a note"),
        ("write to <mail@x.example>", "write to mail@x.example"),
        (r"3 \- 4 and \[address\]", "3 - 4 and [address]"),
        ("line<br/>break <span class='x'>kept</span>", "line break kept"),
        ("a &amp; b &lt; c", "a & b < c"),
        ("before <!-- secret\nnote --> after", "before after"),
        ("use `ls -l` here", "use ls -l here"),
        ("if a < b and c > d", "if a < b and c > d"),
        ("feed/<GROUP_NAME>/<name>.xml", "feed/<GROUP_NAME>/<name>.xml"),
        (
            "see [a guide that\nbreaks]({% page 'x' %}) and <div\nclass='y'>go",
            "see a guide that breaks and go",
        ),
    ],
)
def test_inline_markup_becomes_words(raw: str, clean: str):
    assert " ".join(clean_text(raw).text.split()) == clean


def test_front_matter_goes_and_gives_the_title():
    cleaned = clean_text("---\ntitle: 'Sick leave'\nkeywords: x\n---\nYou can rest.\n")
    assert (cleaned.title, cleaned.text) == ("Sick leave", "You can rest.")


def test_title_is_the_first_heading_without_front_matter():
    assert clean_text("# Travel *policy*\n\nText.").title == "Travel policy"


def test_shortcodes_go_but_an_inline_word_stays():
    raw = (
        'Post in {% slack_channel "people-ops" %} or see [this]({% page "/tools/x" %}).\n\n'
        '{% image "/img/a.png" "alt" %}\n\n{% comment %}hidden{% endcomment %}{{ site.url }}'
    )
    assert clean_text(raw).text == "Post in people-ops or see this."


def test_wrapped_paragraphs_become_one_line_and_addresses_stay():
    wrapped = "This line was wrapped by hand because the editor was\nnarrow in those days.\n"
    address = "Halden Instruments\nQuay 4\n12345 Bruckdal\n"
    assert clean_text(wrapped).text.count("\n") == 0
    assert clean_text(address).text.count("\n") == 2


def test_hyphen_at_a_line_break_is_joined():
    raw = "The measurement is taken by the instru-\nment itself every day."
    assert "instrument itself" in clean_text(raw).text


def test_headings_are_regular():
    raw = "##Equity\n\nTitle\n=====\n\nSub\n---\n\n#1 priority is safety.\n\n### Closed ###\n"
    lines = [line for line in clean_text(raw).text.split("\n") if line]
    assert lines == ["## Equity", "# Title", "## Sub", "#1 priority is safety.", "### Closed"]


def test_html_table_in_markdown_becomes_rows():
    raw = (
        "Rates:\n<table>\n<tr><td>Years</td><td>Pay</td></tr><tr><td>5</td><td>$1</td></tr></table>"
    )
    assert clean_text(raw).text == "Rates:\n\n| Years | Pay |\n| --- | --- |\n| 5 | $1 |"


def test_loose_lists_become_tight_and_numbers_stay():
    assert clean_text("* one\n\n* two\n\n3. three\n").text == "- one\n- two\n3. three"


def test_code_stays_as_it_is():
    raw = "Run:\n\n```sh\nls   -l  *x*\n\n\ncat _a_\n```\n"
    assert "ls   -l  *x*" in clean_text(raw).text


def test_characters_are_normalised():
    raw = "\ufeff“Caf\u0065\u0301” — it\u2019s\u00a0\u200bhere\x00\x07\r\nnext\tcell"
    assert normalise_characters(raw) == '"Caf\u00e9"  -  it\'s here\nnext\tcell'


def test_cleaning_twice_changes_nothing():
    raw = "# A\n\nText with **bold**.\n\n- x\n- y\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    once = clean_text(raw).text
    assert clean_text(once).text == once


def test_turns_keep_their_lines():
    assert clean_turn("Hello,\r\n\r\n\r\nit *fails*.\nBye") == "Hello,\n\nit fails.\nBye"
