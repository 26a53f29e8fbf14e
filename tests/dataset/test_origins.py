"""Every example keeps its file, its place and a hash of it. Oracle: the clean text."""

from __future__ import annotations

import hashlib
from collections import Counter

from appliance.dataset.origins import read_origins
from appliance.dataset.show import show_examples
from appliance.dataset.tokenizer import TextTokenizer

from .conftest import Build
from .test_build import SPLITS, make_corpus


def test_every_example_can_be_found_in_the_clean_text(build: Build, tmp_path):
    built = build(make_corpus())
    documents = {document.source: document for document in built.documents}
    for name in SPLITS:
        split = getattr(built.dataset, name)
        origins = read_origins(tmp_path / "run" / split.folder)
        assert len(origins) == split.num_examples
        assert Counter(origin.kind for origin in origins) == split.kinds
        for origin in origins:
            document = documents[origin.source]
            place = document.text[origin.start : origin.end]
            if origin.talk is not None:
                turns = document.conversations[origin.talk]
                place = "\n".join(turn.content for turn in turns)
            assert hashlib.sha256(place.encode()).hexdigest() == origin.sha256


def test_no_place_is_in_two_splits(build: Build, tmp_path):
    built = build(make_corpus())
    places = [
        {
            (origin.source, origin.start, origin.talk)
            for origin in read_origins(tmp_path / "run" / getattr(built.dataset, name).folder)
        }
        for name in SPLITS
    ]
    assert places[0].isdisjoint(places[1] | places[2]) and places[1].isdisjoint(places[2])


def test_ledger_counts_examples_by_kind(build: Build):
    built = build(make_corpus())
    counted = Counter()
    for row in built.ledger:
        counted.update(row.kinds)
    made = Counter()
    for name in SPLITS:
        made.update(getattr(built.dataset, name).kinds)
    assert counted == made and made["headings"] and made["asked"] and made["conversation"]


def test_system_line_stands_before_made_pairs_alone(
    build: Build, tokenizer: TextTokenizer, tmp_path
):
    line = "You answer for Halden, in one sentence."
    built = build(make_corpus(), system=line)
    shown = show_examples(tmp_path / "run" / built.dataset.train.folder, tokenizer, 1000)
    for example in shown:
        has_line = line in "".join(part.text for part in example.parts if not part.supervised)
        assert has_line == (example.kind not in ("passage", "conversation"))
    assert {question.system for question in built.questions} == {line}


def test_kinds_can_be_switched_off(build: Build):
    made = build(make_corpus(), kinds=("asked",)).dataset.train.kinds
    assert set(made) == {"passage", "conversation", "asked"}
