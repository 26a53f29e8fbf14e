"""Documents of one family stay on one side of the split."""

from __future__ import annotations

import random

from appliance.dataset.blocks import split_blocks
from appliance.dataset.split import assign_splits
from appliance.dataset.units import DocumentBlocks, Unit, make_units
from appliance.values import Document

from .conftest import make_document


def cut(documents: list[Document], tokenizer, *, by_section: bool = False) -> list[Unit]:
    items = [
        DocumentBlocks(
            document=document,
            blocks=tuple(split_blocks(document.text, document.title, tokenizer, 200)),
            conversation_tokens=tuple(10 for _ in document.conversations),
        )
        for document in documents
    ]
    return make_units(items, by_section=by_section)


def make_relatives(number: int, family: int | None) -> Document:
    """A document that shares no paragraph with another: only its family tells."""
    rng = random.Random(number)
    lines = [" ".join(str(rng.randrange(1000)) for _ in range(30)) for _ in range(8)]
    chat = [("user", f"Question {number}?"), ("assistant", f"Answer {number}.")]
    document = make_document(number, "\n\n".join(lines), [chat])
    return document.model_copy(update={"family": family})


def test_family_is_never_divided_between_splits(tokenizer):
    documents = [make_relatives(n, n // 4 * 4 if n < 24 else None) for n in range(60)]
    units = [unit for unit in cut(documents, tokenizer) if not unit.conversation]
    for seed in range(5):
        names = assign_splits(units, valid_share=0.1, test_share=0.15, seed=seed)
        by_document = {unit.document: names[unit.number] for unit in units}
        assert all(by_document[n] == by_document[n // 4 * 4] for n in range(24))
        assert len({by_document[n] for n in range(60)}) == 3


def test_strangers_and_conversations_are_no_family(tokenizer):
    documents = [make_relatives(n, 0 if n < 2 else None) for n in range(5)]
    units = cut(documents, tokenizer)
    texts = [unit for unit in units if not unit.conversation]
    assert len({unit.family for unit in texts}) == 4
    assert len({unit.family for unit in units if unit.conversation}) == 5


def test_sections_stand_alone_where_they_are_the_units(tokenizer):
    # oracle: a folder of two relatives must still be divisible by sections
    documents = [make_relatives(n, 0) for n in range(2)]
    documents = [
        document.model_copy(update={"text": document.text.replace("\n\n", "\n\n## Part\n\n")})
        for document in documents
    ]
    units = cut(documents, tokenizer, by_section=True)
    assert len({unit.family for unit in units}) > 3
