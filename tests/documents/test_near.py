from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from appliance.documents.near import (
    NUM_HASHES,
    find_candidates,
    measure_overlap,
    sign,
    split_phrases,
)
from appliance.documents.siblings import are_siblings, are_versions

from .conftest import ReadFolder

STEMS = ("ba", "ke", "li", "mo", "nu", "ra", "si", "to", "vu", "wa")
ENDS = ("den", "fer", "gal", "hos", "jin")
WORDS = [stem + end for stem in STEMS for end in ENDS]


def write_text(rng: random.Random, num_words: int = 300) -> str:
    words = [rng.choice(WORDS) + rng.choice(WORDS) for _ in range(num_words)]
    return "\n\n".join(" ".join(words[n : n + 30]) for n in range(0, num_words, 30))


def change_words(text: str, share: float, rng: random.Random) -> str:
    paragraphs = [
        " ".join(rng.choice(WORDS) if rng.random() < share else word for word in line.split())
        for line in text.split("\n\n")
    ]
    return "\n\n".join(paragraphs)


def test_phrases_do_not_see_capitals_signs_and_breaks():
    # oracle: the same words in the same order
    assert np.array_equal(
        split_phrases("The pump, (model T20), runs."), split_phrases("the PUMP\nmodel t20 runs")
    )


def test_overlap_is_the_share_of_phrases_in_both():
    # oracle: by hand: "a b c d" has phrases abc bcd; "a b c e" has abc bce: one of three is shared
    one, other = split_phrases("a b c d"), split_phrases("a b c e")
    assert measure_overlap(one, other) == pytest.approx(1 / 3)
    assert measure_overlap(one, one) == 1.0


@pytest.mark.parametrize("num_words", [20, 300, 5_000])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.15])
def test_signature_estimates_the_overlap(num_words: int, share: float):
    # oracle: the overlap itself; the standard error of 128 hashes is at most 0.045
    rng = random.Random(num_words)
    errors = []
    for _ in range(40):
        text = write_text(rng, num_words)
        one, other = split_phrases(text), split_phrases(change_words(text, share, rng))
        errors.append(float((sign(one) == sign(other)).mean()) - measure_overlap(one, other))
    assert abs(np.mean(errors)) < 0.03
    assert np.std(errors) < 0.07


def test_candidates_are_the_pairs_that_resemble():
    # oracle: comparing every document with every other
    rng = random.Random(4)
    texts = [write_text(rng) for _ in range(60)]
    texts += [change_words(text, share, rng) for text in texts[:20] for share in (0.02, 0.08)]
    phrases = [split_phrases(text) for text in texts]
    found = find_candidates(np.array([sign(each) for each in phrases]), 0.35)
    pairs = {(i, j) for i, others in found.items() for _, j in others if i < j}
    for i, one in enumerate(phrases):
        for j in range(i + 1, len(phrases)):
            overlap = measure_overlap(one, phrases[j])
            if overlap >= 0.6:
                assert (i, j) in pairs
            if overlap < 0.15:
                assert (i, j) not in pairs


def test_crowd_of_one_mould_is_found_without_comparing_all_with_all():
    # oracle: all 1,000 belong together, and no document lists more than a few hundred others
    rng = random.Random(5)
    text = write_text(rng)
    rows = [sign(split_phrases(change_words(text, 0.08, rng))) for _ in range(1_000)]
    found = find_candidates(np.array(rows).reshape(-1, NUM_HASHES), 0.35)
    reached, border = {0}, [0]
    while border:
        border = [j for i in border for _, j in found[i] if j not in reached and not reached.add(j)]
    assert len(reached) == 1_000
    assert sum(map(len, found.values())) < 400 * 1_000


def test_versions_are_told_from_siblings():
    contract = (
        "# Contract\n\nAcme delivers {n} pumps of type {t} to {c} before the end of each month, "
        * 4
    )
    one = contract.format(n=12, t="T20", c="Berger AG")
    other = contract.format(n=7, t="C30", c="Nordwerk")
    assert are_siblings(one, other, 0.8)
    assert not are_siblings(one, one.replace("pumps", "engines"), 0.8)
    assert not are_siblings(one, one + " and one more sentence 42", 0.9)
    assert are_siblings("# Set up a pump\n\n" + one, "# Clean a pump\n\n" + one, 0.8)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a/leave_v1.md", "b/Leave v2.docx", True),
        ("travel-2023.md", "travel-2024-05.md", True),
        ("plan.md", "plan (1).md", True),
        ("copy of plan.md", "plan_final.md", True),
        ("t20.md", "c30.md", False),
        ("leave.md", "travel.md", False),
    ],
)
def test_names_of_versions(one: str, other: str, same: bool):
    assert are_versions(one, other) == same


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """Two versions (`leave`), two that are half the same (`travel`, `trips`), three strangers."""
    rng = random.Random(6)
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(3):
        (folder / f"other{n}.md").write_text(write_text(rng))
    text = write_text(rng)
    (folder / "leave_2023.md").write_text(change_words(text, 0.03, rng))
    (folder / "leave.md").write_text(text)
    text = write_text(rng)
    (folder / "travel.md").write_text(text)
    half = text.split("\n\n")
    (folder / "trips.md").write_text("\n\n".join([*half[:8], *write_text(rng, 60).split("\n\n")]))
    return folder


def test_one_version_is_kept_and_the_ledger_names_it(versions: Path, read_folder: ReadFolder):
    reading = read_folder(versions)
    verdict = reading.verdicts["leave_2023.md"]
    assert (verdict.verdict, verdict.duplicate_of) == ("duplicate", "leave.md")
    assert "of its phrases stand in leave.md, which is kept" in verdict.reason
    assert "near_duplicates=keep" in verdict.fix
    corpus = reading.corpus
    assert (corpus.num_near_duplicates, corpus.num_duplicates, corpus.num_used) == (1, 1, 6)
    assert [document.number for document in reading.documents.values()] == list(range(6))


def test_newer_version_is_kept_whatever_its_name(versions: Path, read_folder: ReadFolder):
    os.utime(versions / "leave.md", (0, 10 * 86_400))
    os.utime(versions / "leave_2023.md", (0, 20 * 86_400))
    assert read_folder(versions).verdicts["leave.md"].duplicate_of == "leave_2023.md"


def test_relatives_are_a_family_and_strangers_are_none(versions: Path, read_folder: ReadFolder):
    documents = read_folder(versions).documents
    assert (
        documents["travel.md"].family
        == documents["trips.md"].family
        == (documents["travel.md"].number)
    )
    assert documents["other0.md"].family is None


def test_all_versions_stay_as_a_family_when_the_recipe_says_so(
    versions: Path, read_folder: ReadFolder
):
    documents = read_folder(versions, near_duplicates="keep").documents
    assert documents["leave.md"].family == documents["leave_2023.md"].family is not None


def test_corpus_does_not_depend_on_the_order_of_files_on_disk(
    tmp_path: Path, read_folder: ReadFolder
):
    # oracle: the same files, made in another order
    rng = random.Random(7)
    text = write_text(rng)
    files = {f"{n:02}.md": change_words(text, 0.02 * (n % 5), rng) for n in range(20)}
    files |= {
        f"mail{n}.txt": f"Write to user{n % 7}@example.org at once, please." for n in range(20)
    }
    corpora = []
    for name, order in (("one", sorted(files)), ("two", sorted(files, reverse=True))):
        folder = tmp_path / name
        folder.mkdir()
        for file in order:
            (folder / file).write_text(files[file])
            os.utime(folder / file, (0, 0))
        corpora.append(read_folder(folder))
    assert corpora[0].corpus == corpora[1].corpus
    assert corpora[0].verdicts == corpora[1].verdicts
