"""Questions that no document answers. Oracle: the words of the documents, looked up one by one."""

from __future__ import annotations

import re

import pytest

from appliance.dataset.origins import read_origins
from appliance.dataset.pairing.refusals import Refusal, Topic, find_refusals, read_words
from appliance.dataset.pairing.stranger import STRANGERS
from appliance.dataset.pairing.words import find_content, stem

from .conftest import Build, make_document

THINGS = ("pump", "valve", "boiler", "filter", "engine", "press", "mixer", "kiln", "crane", "lathe")


def make_things():
    """Documents that share no word but those of every sentence."""
    return [
        make_document(
            number,
            f"# The {thing}\n\n## {thing.title()}s\n\n"
            + f"The {thing} runs for {number + 2} years without harm. " * 12
            + f"\n\n## {thing.title()} noise\n\n"
            + f"A loud {thing} is switched off at {number + 3} o'clock. " * 12,
        ).model_copy(update={"title": f"The {thing}"})
        for number, thing in enumerate(THINGS)
    ]


@pytest.fixture(scope="module")
def refused() -> dict[str, list[Refusal]]:
    """What is refused in two splits of the same documents."""
    documents = {document.number: document for document in make_things()}
    topics = [
        Topic(
            unit=number,
            document=number,
            headings=tuple(re.findall(r"^## (.*)$", document.text, re.M)),
        )
        for number, document in documents.items()
    ]
    parts = {"train": topics[:7], "test": topics[7:]}
    return {name: find_refusals(part, documents, name, 200, 1) for name, part in parts.items()}


def test_refused_questions_are_answered_by_no_document(refused):
    texts = {document.title: document.text.lower() for document in make_things()}
    keys = {question: words.split() for question, words in STRANGERS}
    across = 0
    for refusal in [*refused["train"], *refused["test"]]:
        if refusal.document is None:
            assert not any(
                re.search(rf"\b{key}\b", text)
                for text in texts.values()
                for key in keys[refusal.question]
            )
            continue
        title, heading = re.fullmatch(r"What does (.*) say about (.*)\?", refusal.question).groups()
        across += 1
        assert not any(word in texts[title] for word in heading.lower().split() if word in THINGS)
        assert any(word not in texts[title] for word in heading.lower().split())
    assert across > 0


def test_refusals_take_no_word_from_other_splits(refused):
    train, test = ({refusal.question for refusal in refused[name]} for name in ("train", "test"))
    assert train and test and not train & test
    for thing in THINGS[7:]:
        assert not any(thing in question.lower() for question in train)


def test_refusals_make_their_share_and_tell_where_they_looked(build: Build, tmp_path):
    built = build(make_things(), refusal_share=0.3, passage_tokens=64)
    kinds = built.dataset.train.kinds
    assert kinds["refusals"] / (sum(kinds.values()) - kinds["passage"]) == pytest.approx(
        0.3, abs=0.05
    )
    lengths = {document.source: len(document.text) for document in built.documents}
    origins = read_origins(tmp_path / "run" / built.dataset.train.folder)
    looked = [origin for origin in origins if origin.kind == "refusals" and origin.source]
    assert all(origin.end == lengths[origin.source] for origin in looked)
    again = build(make_things(), refusal_share=0.3, passage_tokens=64)
    assert again.dataset.sha256 == built.dataset.sha256


def test_a_question_is_dropped_when_a_document_has_its_word():
    documents = {0: make_document(0, "Nothing here."), 1: make_document(1, "Our dogs bark.")}
    found = find_refusals([], documents, "train", 1000, 1)
    assert found
    assert not any("dog" in refusal.question for refusal in found)


def test_words_of_conversations_count():
    talk = [("user", "Is there a sauna?"), ("assistant", "In the cellar.")]
    assert stem("sauna") in read_words(make_document(0, conversations=[talk]))


@pytest.mark.parametrize(("question", "words"), STRANGERS)
def test_every_stranger_asks_for_one_of_its_words(question: str, words: str):
    assert set(find_content(question)) & set(find_content(words))
