from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from appliance.dataset.blocks import split_blocks
from appliance.dataset.split import assign_splits
from appliance.dataset.units import DocumentBlocks, Unit, make_units
from appliance.errors import DocumentsError
from appliance.values import Document, Turn

from .conftest import make_document


def make_unit(number: int, num_tokens: int, family: int | None = None) -> Unit:
    return Unit(
        number=number,
        family=number if family is None else family,
        document=number,
        blocks=(),
        conversation=(),
        num_tokens=num_tokens,
    )


def assign(units: list[Unit], seed: int = 1) -> dict[int, str]:
    return dict(assign_splits(units, valid_share=0.1, test_share=0.15, seed=seed))


def cut(documents: list[Document], tokenizer, **options) -> list[Unit]:
    items = [
        DocumentBlocks(
            document=document,
            blocks=tuple(split_blocks(document.text, document.title, tokenizer, 200)),
            conversation_tokens=tuple(10 for _ in document.conversations),
        )
        for document in documents
    ]
    return make_units(items, by_section=options.get("by_section", False))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("num_units", [8, 12, 40, 300])
def test_shares_are_kept_by_tokens(seed: int, num_units: int):
    rng = random.Random(seed)
    units = [make_unit(n, int(rng.lognormvariate(6, 1.2)) + 250) for n in range(num_units)]
    names = assign(units, seed)
    filled = Counter()
    for unit in units:
        filled[names[unit.number]] += unit.num_tokens
    share = filled["test"] / filled.total()
    slack = 0.12 if num_units < 20 else 0.03
    assert abs(share - 0.15) <= slack
    assert abs(filled["valid"] / filled.total() - 0.1) <= slack
    if num_units >= 8:
        assert Counter(names.values())["test"] >= 2


def test_split_is_decided_by_the_seed():
    units = [make_unit(n, 500 + n) for n in range(50)]
    assert assign(units, 1) == assign(units, 1)
    assert assign(units, 1) != assign(units, 2)


def test_large_document_is_never_the_test():
    units = [make_unit(0, 50_000), *(make_unit(n, 800) for n in range(1, 20))]
    assert assign(units)[0] == "train"


def test_sizes_land_everywhere():
    units = [make_unit(n, 4000 if n < 30 else 200) for n in range(60)]
    names = assign(units)
    for split in ("train", "valid", "test"):
        sizes = {u.num_tokens for u in units if names[u.number] == split}
        assert sizes == {4000, 200}


@pytest.mark.parametrize("sizes", [[700, 700, 700], [5000, 10, 10], [1500, 1500, 10, 10]])
def test_no_split_stays_empty(sizes: list[int]):
    names = assign([make_unit(n, size) for n, size in enumerate(sizes)])
    assert set(names.values()) == {"train", "valid", "test"}


def test_conversations_are_learned_and_tested_beside_large_texts():
    turns = (Turn(role="user", content="Q"), Turn(role="assistant", content="A"))
    texts = [make_unit(n, 5000) for n in range(4)]
    chats = [replace(make_unit(n, 20), conversation=turns) for n in range(4, 44)]
    names = assign([*texts, *chats])
    found = Counter(names[unit.number] for unit in chats)
    assert found["train"] >= 25 and found["test"] >= 4 and found["valid"] >= 2


def test_families_stay_together():
    units = [make_unit(n, 300, family=n // 3 * 3) for n in range(60)]
    names = assign(units)
    assert all(names[n] == names[n // 3 * 3] for n in range(60))


@pytest.mark.parametrize("sizes", [[100] * 10, [5000, 5000]])
def test_too_little_text_is_an_error_with_numbers(sizes: list[int]):
    with pytest.raises(DocumentsError, match="too little text") as caught:
        assign([make_unit(n, size) for n, size in enumerate(sizes)])
    assert f"{sum(sizes):,} tokens" in caught.value.why
    assert caught.value.fix


def test_every_conversation_is_a_unit(tokenizer):
    chats = [[("user", f"Question {n} of many?"), ("assistant", f"It is {n}.")] for n in range(30)]
    units = cut([make_document(0, conversations=chats)], tokenizer)
    assert len(units) == len({unit.family for unit in units}) == 30


def test_same_record_twice_is_one_family(tokenizer):
    chat = [
        ("user", "What does error E05 mean here?"),
        ("assistant", "Calibration is overdue now."),
    ]
    copy = [
        ("user", "what does  error E05 mean here?"),
        ("assistant", "Calibration is overdue now."),
    ]
    other = [("user", "Where is the returns centre?"), ("assistant", "It is in Varnhorst, gate 2.")]
    units = cut(
        [make_document(0, conversations=[chat, other]), make_document(1, conversations=[copy])],
        tokenizer,
    )
    assert [unit.family for unit in units] == [0, 1, 0]


def test_two_versions_of_a_document_are_one_family(tokenizer):
    paragraphs = [f"Paragraph {n} says something about rule {n} of the house." for n in range(10)]
    changed = [
        *paragraphs[:8],
        "This one is new and says something else.",
        "So is this one, a lot.",
    ]
    other = [f"Chapter {n} is about the calibration of sensor {n}." for n in range(10)]
    texts = ["\n\n".join(lines) for lines in (paragraphs, other, changed)]
    units = cut([make_document(n, text) for n, text in enumerate(texts)], tokenizer)
    assert [unit.family for unit in units] == [0, 1, 0]


def test_long_price_list_is_many_units_and_a_short_one_is_not(tokenizer):
    rows = [f"- Part: HI-{n}; Description: sensor {n * 7}; Price: {n} EUR" for n in range(40)]
    long, short = make_document(0, "\n".join(rows)), make_document(1, "\n".join(rows[:9]))
    assert len(cut([long], tokenizer)) == 5
    assert len(cut([short], tokenizer)) == 1


def test_sections_are_units_where_documents_are_few(tokenizer):
    text = "\n\n".join(f"## Part {n}\n\nText of part {n} goes here." for n in range(6))
    units = cut([make_document(0, text)], tokenizer, by_section=True)
    assert len(units) == 6
    assert sum(len(unit.blocks) for unit in units) == 12
