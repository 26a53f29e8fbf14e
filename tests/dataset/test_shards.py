"""Large corpora for `tune`: shard by shard, the same bits after a kill, long files divided."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from appliance.dataset import build as building
from appliance.dataset.build import build_dataset
from appliance.dataset.tokens import ANSWER
from appliance.errors import InterruptedRun
from appliance.recipe import DatasetRecipe
from appliance.values import Dataset

from .conftest import Build, make_document
from .test_text import make_long_corpus, open_stage, write_documents

pytestmark = pytest.mark.usefixtures("as_if_large")


def make_chats(number: int, start: int = 0) -> list[list[tuple[str, str]]]:
    return [
        [("user", f"Where is part {n} kept?"), ("assistant", f"Part {n} is in rack {n * 7}.")]
        for n in range(start, start + number)
    ]


def read_all(run: Path, dataset: Dataset) -> dict[str, bytes]:
    """Every file of a dataset, by name."""
    folder = (run / dataset.train.folder).parent
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_token_of_a_large_corpus_is_accounted_for(build: Build, tokenizer):
    documents = [*make_long_corpus(), make_document(40, conversations=make_chats(30))]

    built = build(documents)

    of_text = sum(len(tokenizer.plain.encode(d.text).ids) for d in documents)
    of_chats = sum(
        sum(tokenizer.count([turn.content for turn in turns]))
        for document in documents
        for turns in document.conversations
    )
    assert sum(row.num_tokens for row in built.ledger) == of_text + of_chats
    assert all(row.num_tokens == row.num_used + row.num_dropped for row in built.ledger)
    assert {row.source for row in built.ledger} == {document.source for document in documents}
    sizes = {name: file.num_tokens for name, file in built.splits.items()}
    assert min(sizes.values()) > 0 and sizes["train"] > sizes["test"]
    units = [set(file.examples_E5[:, 2].tolist()) for file in built.splits.values()]
    assert not any(units[a] & units[b] for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_killed_build_goes_on_to_the_same_bits(tmp_path, base, monkeypatch):
    corpus = write_documents(tmp_path, [*make_long_corpus(), make_document(40, "", make_chats(9))])
    whole = build_dataset(corpus, base, DatasetRecipe(), open_stage(tmp_path, name="whole"))

    asked = iter([False] * 5 + [True])
    with pytest.raises(InterruptedRun):
        stage = open_stage(tmp_path, lambda: next(asked), name="killed")
        build_dataset(corpus, base, DatasetRecipe(), stage)
    num_shards = 0

    def count(*args: object) -> None:
        nonlocal num_shards
        num_shards += 1
        write(*args)

    write = building._write_shard
    monkeypatch.setattr(building, "_write_shard", count)
    again = build_dataset(corpus, base, DatasetRecipe(), open_stage(tmp_path, name="killed"))
    rest, num_shards = num_shards, 0
    build_dataset(corpus, base, DatasetRecipe(), open_stage(tmp_path, name="third"))

    assert 0 < rest < num_shards
    assert again.sha256 == whole.sha256
    assert read_all(tmp_path, again) == read_all(tmp_path, whole)


def test_a_document_as_long_as_a_folder_is_divided(build: Build):
    rng = random.Random(3)
    sections = [
        f"# Pump {n}\n\n" + " ".join(rng.choices(["seal", "shaft", "rotor", "casing"], k=90))
        for n in range(60)
    ]

    built = build([make_document(0, "\n\n".join(sections))])

    assert {row.split for row in built.ledger} == {"train", "valid", "test"}


def test_a_file_of_many_chats_is_divided(build: Build):
    built = build([make_document(0, conversations=make_chats(600))])

    assert all(file.num_tokens for file in built.splits.values())
    assert built.questions and all("part" in row.question for row in built.questions)


def test_refusals_of_a_large_corpus_are_about_what_no_document_names(build: Build, tokenizer):
    documents = make_long_corpus()
    documents += [make_document(n, conversations=make_chats(9, n * 9)) for n in range(40, 60)]
    documents[0] = make_document(0, documents[0].text + " The dog may stay in the office.")

    built = build(documents, refusal_share=0.1, refusal="Nobody wrote about that.")

    answers = built.texts("train", tokenizer, ANSWER)
    refused = [text for text in answers if "Nobody wrote about that." in text]
    assert 0.02 < len(refused) / len(answers) <= 0.11
    assert any("penguins" in text for name in built.splits for text in built.texts(name, tokenizer))
    assert not any("dog" in text for text in refused)
