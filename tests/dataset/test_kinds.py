"""Kinds of pairs, each with what it makes and what it leaves alone.

Oracle: what a person would ask, and the words of the text, written down case by case.
"""

from __future__ import annotations

import random

import pytest

from appliance.dataset.blocks import split_blocks
from appliance.dataset.pairing.drafts import make_page
from appliance.dataset.pairing.find import MAKERS, Pair, deal_kinds, find_pairs
from appliance.dataset.tokenizer import TextTokenizer
from appliance.values import PairKind

TABLE = """# Error codes

| Code | Kind | First action |
| --- | --- | --- |
| E01 | Fault | Check the plug |
| E02 | Warning | Clean the window |
| E03 | Fault | Restart it. Then call us. |
"""


@pytest.fixture
def ask(tokenizer: TextTokenizer):
    def run(kind: PairKind, text: str, title: str = "Guide") -> list[tuple[str, str]]:
        page = make_page(text, title, split_blocks(text, title, tokenizer, 200))
        return [(draft.question, draft.answer) for draft in MAKERS[kind](page)]

    return run


def test_glossary_entries_are_asked_for(ask):
    text = (
        "# Glossary\n\nFlow cell. The clear chamber that holds a sensor.\n\n"
        "- RMA: the number that a parcel gets before it is sent back.\n"
        "- Grok - to understand something to its very end.\n"
    )
    assert ask("definitions", text) == [
        ('What is meant by "Flow cell"?', "The clear chamber that holds a sensor."),
        ('What is meant by "RMA"?', "the number that a parcel gets before it is sent back."),
        ('What is meant by "Grok"?', "to understand something to its very end."),
    ]


def test_entries_outside_a_glossary_are_not_terms(ask):
    text = (
        "# Shopping\n\n- Bread: buy two loaves before the shop closes.\n\nNote. It rains a lot.\n"
    )
    assert ask("definitions", text) == []


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("A cliff is a period in which equity does not vest at all.", "What is a cliff?"),
        (
            "The Sonda 7 is a portable meter for acidity and for temperature.",
            "What is the Sonda 7?",
        ),
        (
            "E18 means that the controller has not heard from the gateway lately.",
            'What is meant by "E18"?',
        ),
    ],
)
def test_sentences_that_define_are_asked_for(ask, sentence: str, question: str):
    assert ask("definitions", f"# Guide\n\n{sentence} More of it here.\n") == [(question, sentence)]


@pytest.mark.parametrize(
    "sentence",
    [
        "This means that the controller has not heard from the gateway lately.",
        "A change of ten per cent within an hour is a good limit for an alarm.",
        "It is a portable meter for acidity and for temperature in water.",
        "The order is a mess and nobody knows what to do about it now.",
        "A cat is a pet.",
    ],
)
def test_other_sentences_define_nothing(ask, sentence: str):
    assert ask("definitions", f"# Guide\n\n{sentence}\n") == []


def test_rows_are_asked_for_by_their_first_cell(ask):
    asked = ask("rows", TABLE, "Error codes")
    assert len(asked) == 3
    for (question, answer), code in zip(asked, ("E01", "E02", "E03"), strict=True):
        assert question.startswith("According to Error codes, what is the ")
        assert question.endswith(f" for code {code}?")
        row = next(line for line in TABLE.splitlines() if line.startswith(f"| {code}"))
        column = "Kind" if " kind " in question else "First action"
        cells = dict(
            zip(["Code", "Kind", "First action"], row.strip("| ").split(" | "), strict=True)
        )
        assert answer == cells[column]


def test_properties_are_asked_for_by_their_name(ask):
    text = "| Property | Value |\n| --- | --- |\n" + "".join(
        f"| {name} | {number} bar |\n" for number, name in enumerate(("Range", "Limit", "Pressure"))
    )
    assert ask("rows", text, "C30")[0] == ("According to C30, what is the range?", "0 bar")


def test_rows_of_questions_are_asked_as_they_stand(ask):
    text = "| Question | Answer |\n| --- | --- |\n" + "".join(
        f"| Where is hall {number}? | On floor {number}, left |\n" for number in range(3)
    )
    assert ask("rows", text)[0] == ("Where is hall 0?", "On floor 0, left")


def test_headings_that_are_tasks_or_sentences_are_quoted(ask):
    text = "## Give the team a sign\n\nWrite a line to the channel of the whole team.\n"
    assert ask("headings", text)[0][0] == 'What does Guide say under "Give the team a sign"?'
    assert ask("headings", text.replace("Give the team a sign", "Chapter 4"))[0][0] == (
        'What does Guide say under "Chapter 4"?'
    )


def test_records_are_rows_too(ask):
    lines = "".join(f"- Part number: HI-{n}; Price: {n}.50; Colour: red\n" for n in range(4))
    asked = ask("rows", lines, "Price list")
    assert len(asked) == 4
    assert all("for part number HI-" in question for question, _ in asked)


@pytest.mark.parametrize(
    "table",
    [
        TABLE.replace("E02", "E01"),  # two rows of one name: the third is left
        TABLE.replace("First action", "January 1"),  # data where the header should be
        "\n".join(TABLE.splitlines()[:5]),  # two rows are no table
    ],
)
def test_rows_that_are_not_clear_are_not_asked_for(ask, table: str):
    assert all("E01" not in question for question, _ in ask("rows", table))


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Replace the filter", "How do I replace the filter?"),
        ("How to order a sensor", "How do I order a sensor?"),
        ("3.2 Setting up the channel", "How do I set up the channel?"),
    ],
)
def test_tasks_with_steps_are_asked_for(ask, heading: str, question: str):
    text = f"## {heading}\n\nTakes a minute.\n\n1. Open the menu.\n2. Press the button.\n"
    assert ask("steps", text) == [(question, text.split("\n\n", 1)[1].strip())]


@pytest.mark.parametrize(
    "text",
    [
        "## Key objectives\n\n1. Hire people.\n2. Keep them.\n",
        "## Setting up\n\n1. Open the menu.\n2. Press the button.\n",
        "## Replace the filter\n\nIt is easy.\n",
        "## Replace the filter\n\n1. Open the lid.\n3. Close the lid.\n",
    ],
)
def test_other_lists_are_no_procedures(ask, text: str):
    assert ask("steps", text) == []


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("What does it cost?", "Prices: What does it cost?"),
        ("What does a sensor cost?", "What does a sensor cost?"),
    ],
)
def test_questions_get_the_subject_they_lack(ask, heading: str, question: str):
    assert ask("asked", f"# Prices\n\n## {heading}\n\nEUR 300 net.\n", "Prices") == [
        (question, "EUR 300 net.")
    ]


@pytest.mark.parametrize("heading", ["Questions?", "Need help?"])
def test_offers_are_no_questions(ask, heading: str):
    assert ask("asked", f"## {heading}\n\nWrite to the service desk.\n") == []


def test_gaps_are_left_for_single_numbers(ask):
    text = "The pump of the northern hall was switched off after 24 hours of work. It is 3 of 4.\n"
    ((question, answer),) = ask("cloze", text)
    assert answer == "24"
    assert "after ____ hours" in question


@pytest.mark.parametrize("bad", ["{% include x %} is what stands here in the text.", "As follows:"])
def test_answers_that_do_not_stand_alone_are_left_out(tokenizer: TextTokenizer, bad: str):
    text = f"## Hotels\n\nBook hotels in time and keep the bill. {bad}\n"
    blocks = split_blocks(text, "Guide", tokenizer, 200)
    assert find_pairs(text, blocks, "Guide", tokenizer, 256) == []


def test_only_wanted_kinds_are_made_and_a_section_is_taken_once(tokenizer: TextTokenizer):
    text = "## Replace the filter\n\n1. Open the lid.\n2. Take the filter out and close the lid.\n"
    blocks = split_blocks(text, "Guide", tokenizer, 200)

    def kinds_of(*kinds: PairKind) -> list[str]:
        return [pair.kind for pair in find_pairs(text, blocks, "Guide", tokenizer, 256, kinds)]

    assert kinds_of("headings", "steps") == ["steps"]
    assert kinds_of("headings") == ["headings"]
    assert kinds_of("rows") == []


@pytest.mark.parametrize("seed", range(8))
def test_places_of_pairs_hold_their_answers(tokenizer: TextTokenizer, seed: int):
    # property: whatever the text, a pair's place is inside the text and its words come from there
    rng = random.Random(seed)
    parts = [
        "# Glossary",
        TABLE,
        "## Replace the filter",
        "1. Open it.\n2. Take it out of there.",
        "A cliff is a period in which equity does not vest at all.",
        "Why?",
        "## Why is it so?",
        "Q: What is E05?\nA: Overdue.",
        "- Term: what a word of the trade means.",
        "| a | b |",
    ]
    text = "\n\n".join(rng.choice(parts) for _ in range(14))
    blocks = split_blocks(text, "Guide", tokenizer, 200)
    for pair in find_pairs(text, blocks, "Guide", tokenizer, 256, tuple(MAKERS)):
        place = text[pair.start : pair.end]
        assert 0 <= pair.start < pair.end <= len(text)
        assert pair.answer in place
        assert pair.question.endswith("?") or pair.kind == "cloze"


def test_kinds_are_dealt_the_same_number_of_tokens():
    def pair(kind: PairKind, tokens: int) -> Pair:
        return Pair(
            kind=kind, question="?", answer="", start=0, end=1, blocks=(), num_cut=0,
            num_answer_tokens=tokens,
        )  # fmt: skip

    pairs = [(bytes([n]), pair("headings", 100)) for n in range(20)]
    pairs += [(bytes([n]), pair("rows", 10)) for n in range(100)]
    first = [pairs[number][1] for number in list(deal_kinds(pairs))[:44]]
    spent = {
        kind: sum(p.num_tokens for p in first if p.kind == kind) for kind in ("headings", "rows")
    }
    assert abs(spent["headings"] - spent["rows"]) <= 100
    assert sorted(deal_kinds(pairs)) == list(range(120))
