"""Mixing: what an epoch reads of every source, in which order, computed from a number alone."""

from collections import Counter

import numpy as np
import pytest

from appliance.dataset.mixing import divide_windows, find_source, list_sources, weigh_sources
from appliance.dataset.windows import WindowBatches
from tests.dataset.test_windows import make_split, read_labels

MIX = {"books": 0.5, "manuals": 2.0, "old": 0.0}
LENGTHS = [79, 79, 79, 79, 79, 79]
SOURCES_D = np.array([1, 1, 2, 0, 2, 3], dtype=np.uint8)
"""Documents of 80 tokens, the opening one included: five windows of 16 each."""


def make_batches(tmp_path, mix=MIX, order=(), seed=4, window_tokens=16, per_step=3):
    split = make_split(tmp_path / "split", LENGTHS)
    replay = make_split(tmp_path / "replay", [320], first=1000)
    names = list_sources(mix, order)
    return WindowBatches(
        split,
        replay,
        window_tokens=window_tokens,
        windows_per_step=per_step,
        replay_share=0.1,
        seed=seed,
        sources=divide_windows(split, window_tokens, SOURCES_D, weigh_sources(mix, order)),
        order=tuple(1 + names.index(name) for name in order),
    )


def read_epoch(batches, epoch=0):
    first = epoch * batches.steps_per_epoch
    return [p for s in range(first, first + batches.steps_per_epoch) for p in batches.read_step(s)]


def name_source(pack):
    """The source of a window, by its tokens: 10 to 483 are of the corpus, 79 a document."""
    token = int(max(pack.token_ids_T))
    return "general" if token >= 1000 else int(SOURCES_D[(token - 10) // 79])


def test_each_source_is_read_as_often_as_its_weight(tmp_path):
    packs = read_epoch(make_batches(tmp_path))

    assert Counter(map(name_source, packs)) == {0: 5, 1: 5, 2: 20, "general": 3}


def test_weights_below_one_read_everything_in_the_end_and_above_one_evenly(tmp_path):
    batches = make_batches(tmp_path)

    packs = [p for epoch in range(2) for p in read_epoch(batches, epoch)]

    labels = read_labels(p for p in packs if name_source(p) == 1)
    assert set(labels.values()) == {1} and len(labels) == 158, "half of them an epoch: all in two"
    assert set(read_labels(p for p in packs if name_source(p) == 2).values()) == {4}


def test_ordered_sources_come_one_after_another_and_others_among_all(tmp_path):
    packs = read_epoch(make_batches(tmp_path, order=("manuals", "books")))

    names = [name_source(pack) for pack in packs]
    ordered = [name for name in names if name in (1, 2)]
    assert ordered == [2] * 20 + [1] * 5
    middle = names.index(1)
    assert {0, "general"} & set(names[:middle]) and len(names) == 33
    assert Counter(names) == {0: 5, 1: 5, 2: 20, "general": 3}


def test_a_step_is_the_same_whoever_asks_and_differs_by_seed_and_epoch(tmp_path):
    one = make_batches(tmp_path / "one", order=("manuals",))
    two = make_batches(tmp_path / "two", order=("manuals",))
    other = make_batches(tmp_path / "other", order=("manuals",), seed=5)

    def read(batches, step):
        return [pack.token_ids_T.tolist() for pack in batches.read_step(step)]

    steps = range(2 * one.steps_per_epoch)
    backwards = {step: read(two, step) for step in reversed(steps)}
    assert [read(one, step) for step in steps] == [backwards[step] for step in steps]
    assert [read(one, s) for s in range(5)] != [read(other, s) for s in range(5)]
    assert read(one, 0) != read(one, one.steps_per_epoch)


@pytest.mark.parametrize(
    ("path", "number"),
    [("books/a.txt", 1), ("books.txt", 0), ("a/b/x.csv", 2), ("books/x.csv", 1), ("c.md", 0)],
)
def test_a_file_belongs_to_the_first_source_that_fits(path, number):
    assert find_source(path, ("books", "*.csv")) == number


def test_a_window_on_a_border_belongs_to_the_document_it_begins_in(tmp_path):
    split = make_split(tmp_path / "split", LENGTHS)

    sources = divide_windows(split, 50, SOURCES_D, weigh_sources(MIX, ()))

    assert [source.num_windows for source in sources] == [2, 4, 2, 2]
    windows = sorted(s.find_window(turn, 0) for s in sources for turn in range(s.num_windows))
    assert windows == list(range(10)), "each window is of one source"
