from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.dataset.pack import IGNORED, PackedBatches, build_pack, fill_packs
from appliance.dataset.tokens import Example, TokenFile, write_token_file


@pytest.fixture
def split(tmp_path: Path) -> TokenFile:
    rng = np.random.default_rng(1)
    examples = [
        Example(
            token_ids=list(range(100 * n, 100 * n + length)),
            supervised=[False] + [True] * (length - 1),
            document=n,
        )
        for n, length in enumerate(rng.integers(2, 30, size=40).tolist())
    ]
    return write_token_file(tmp_path / "train", examples, vocab_size=8192)


def test_packs_hold_every_item_once_and_never_too_much():
    lengths = np.random.default_rng(7).integers(1, 64, size=500).tolist()
    bins = fill_packs(lengths, 64)
    assert sorted(item for bin_ in bins for item in bin_) == list(range(500))
    assert all(sum(lengths[item] for item in bin_) <= 64 for bin_ in bins)


def test_packs_are_nearly_full():
    # oracle: best-fit decreasing needs at most 11/9 of the optimum (Johnson 1973)
    lengths = np.random.default_rng(7).integers(1, 64, size=500).tolist()
    assert len(fill_packs(lengths, 64)) <= 11 / 9 * (sum(lengths) / 64) + 4


def test_item_longer_than_a_pack_is_refused():
    with pytest.raises(ValueError, match="example 1 has 9 tokens"):
        fill_packs([3, 9], 8)


def test_pack_keeps_examples_apart(split: TokenFile):
    pack = build_pack(split, [3, 5])
    (first_start, first_end), (second_start, second_end) = pack.segments
    assert (first_start, second_start) == (0, first_end)
    assert pack.positions_T[first_start] == pack.positions_T[second_start] == 0
    assert pack.labels_T[first_end - 1] == pack.labels_T[second_end - 1] == IGNORED
    expected = pack.token_ids_T[first_start + 1 : first_end].tolist()
    assert pack.labels_T[first_start : first_end - 1].tolist() == expected
    assert pack.num_labels == int(split.count_labels()[[3, 5]].sum())


def test_every_epoch_reads_every_example_once(split: TokenFile):
    batches = PackedBatches(split, pack_tokens=64, packs_per_step=3, seed=1)
    for epoch in range(2):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        read = np.concatenate([p.token_ids_T for s in steps for p in batches.read_step(s)])
        assert sorted(read.tolist()) == sorted(split.tokens_N.tolist())


def test_steps_are_a_function_of_seed_and_number(split: TokenFile):
    def read(seed: int, step: int) -> list[int]:
        batches = PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=seed)
        return np.concatenate([pack.token_ids_T for pack in batches.read_step(step)]).tolist()

    assert read(1, 3) == read(1, 3)
    assert read(1, 3) != read(2, 3)
