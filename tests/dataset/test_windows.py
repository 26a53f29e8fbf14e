"""Windows of a split: every token is learned once an epoch, in an order that the step tells."""

from collections import Counter

import numpy as np
import pytest

from appliance.dataset.pack import IGNORED
from appliance.dataset.tokens import Example, write_token_file
from appliance.dataset.windows import WindowBatches, count_windows, read_window

LENGTHS = [5, 40, 1, 17, 90, 3]


def make_split(folder, lengths=LENGTHS, first=10):
    """Documents of distinct tokens, each opened by token 0, which is no label."""
    examples, token = [], first
    for number, length in enumerate(lengths):
        ids = list(range(token, token + length))
        token += length
        examples.append(
            Example(token_ids=[0, *ids], supervised=[False] + [True] * length, document=number)
        )
    return write_token_file(folder, examples, vocab_size=8192)


def read_labels(packs):
    return Counter(int(t) for p in packs for t in p.labels_T if t != IGNORED)


@pytest.mark.parametrize("window", [8, 16, 64, 500])
def test_every_supervised_token_is_a_label_of_exactly_one_window(tmp_path, window):
    split = make_split(tmp_path / "split")

    packs = [read_window(split, n, window) for n in range(count_windows(split, window))]

    assert read_labels(packs) == dict.fromkeys(range(10, 10 + sum(LENGTHS)), 1)
    assert all(len(pack.token_ids_T) <= window for pack in packs)


def test_segments_of_a_window_are_parts_of_documents(tmp_path):
    pack = read_window(make_split(tmp_path / "split", [5, 40, 9]), 0, 50)

    assert pack.segments == ((0, 6), (6, 47), (47, 50))
    assert pack.positions_T.tolist() == [*range(6), *range(41), *range(3)]
    assert pack.labels_T[5] == IGNORED, "the end of a text does not tell how the next one begins"
    assert pack.labels_T[49] == pack.token_ids_T[49] + 1, "the label lies in the next window"


def make_batches(split, replay, **changes):
    options = {"window_tokens": 8, "windows_per_step": 3, "replay_share": 0.25, "seed": 4}
    return WindowBatches(split, replay, **(options | changes))


def test_epoch_reads_all_text_once_and_its_share_of_general_text(tmp_path):
    split = make_split(tmp_path / "split")
    replay = make_split(tmp_path / "replay", [200], first=1000)
    batches = make_batches(split, replay)

    packs = [p for step in range(batches.steps_per_epoch) for p in batches.read_step(step)]

    learned = read_labels(packs)
    own = {token: count for token, count in learned.items() if token < 1000}
    assert own == dict.fromkeys(range(10, 10 + sum(LENGTHS)), 1)
    num_general = sum(int(p.token_ids_T[-1] >= 1000) for p in packs)
    assert num_general == round(count_windows(split, 8) / 3), "a quarter of all windows"


def test_epochs_differ_in_order_and_in_general_text(tmp_path):
    split = make_split(tmp_path / "split")
    replay = make_split(tmp_path / "replay", [400], first=1000)
    batches = make_batches(split, replay)
    steps = batches.steps_per_epoch

    def read(epoch):
        rows = [p.token_ids_T for s in range(steps) for p in batches.read_step(epoch * steps + s)]
        return [row.tolist() for row in rows]

    first, second = read(0), read(1)

    assert first != second
    general = [{row[-1] for row in epoch if row[-1] >= 1000} for epoch in (first, second)]
    assert not general[0] & general[1], "new general text while there is some"


def test_step_is_the_same_whenever_it_is_read(tmp_path):
    split, replay = make_split(tmp_path / "split"), make_split(tmp_path / "r", [50], first=1000)
    straight = [make_batches(split, replay).read_step(step) for step in range(12)]

    jumped = make_batches(split, replay).read_step(11)

    for ours, theirs in zip(jumped, straight[11], strict=True):
        np.testing.assert_array_equal(ours.token_ids_T, theirs.token_ids_T)


def test_without_general_text_nothing_is_replayed(tmp_path):
    split = make_split(tmp_path / "split")
    batches = make_batches(split, make_split(tmp_path / "none", []), windows_per_step=1)

    assert batches.steps_per_epoch == count_windows(split, 8)
