"""Samples of a split are even, within their budget, and always the same."""

import pytest

from appliance.dataset.tokens import Example, write_token_file
from appliance.tuning.sample import choose_examples, pack_examples


@pytest.fixture
def documents(tmp_path):
    """Ten documents of four examples, 10 to 49 tokens each; one example has no label."""
    examples = [
        Example(
            token_ids=list(range(10 + number)),
            supervised=[number != 7] * (10 + number),
            document=number // 4,
        )
        for number in range(40)
    ]
    return write_token_file(tmp_path / "documents", examples, 50)


def test_choose_examples_takes_from_every_document_before_any_gives_more(documents):
    rows = choose_examples(documents, 480)

    counts = [sum(row // 4 == document for row in rows) for document in range(10)]
    assert min(counts) >= 1
    assert max(counts) - min(counts) <= 1


def test_choose_examples_stays_below_its_tokens_and_uses_them(documents):
    assert 350 < documents.lengths_E[choose_examples(documents, 400)].sum() <= 400


def test_choose_examples_is_the_same_every_time(documents):
    assert choose_examples(documents, 300) == choose_examples(documents, 300)


def test_choose_examples_leaves_out_what_has_no_label(documents):
    rows = choose_examples(documents, 10_000)

    assert rows == [row for row in range(40) if row != 7]


def test_choose_examples_gives_one_even_if_it_is_too_long(documents):
    assert len(choose_examples(documents, 1)) == 1


def test_pack_examples_holds_each_once_even_when_longer_than_a_pack(documents):
    packs = pack_examples(documents, [0, 39, 12], pack_tokens=16)

    lengths = sorted(end - start for pack in packs for start, end in pack.segments)
    assert lengths == [10, 22, 49]
