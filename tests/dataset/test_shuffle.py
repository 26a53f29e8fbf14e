"""The computed order: a shuffle, whatever its size, and another for every key."""

import numpy as np
import pytest

from appliance.dataset.shuffle import shuffle_index


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097])
def test_shuffle_index_sends_every_item_to_another_place(size):
    assert sorted(shuffle_index(i, size, 5, 1) for i in range(size)) == list(range(size))


def test_shuffle_index_depends_on_every_part_of_the_key():
    orders = {
        key: tuple(shuffle_index(i, 100, *key) for i in range(100))
        for key in [(1, 0), (1, 1), (2, 0), (0, 1)]
    }

    assert len(set(orders.values())) == 4


def test_shuffle_index_keeps_no_trace_of_the_order():
    """Oracle: places of a random permutation do not correlate with items (|r| < 4 / sqrt(n))."""
    places = [shuffle_index(i, 10_000, 3) for i in range(10_000)]

    assert abs(np.corrcoef(np.arange(10_000), places)[0, 1]) < 0.04


def test_shuffle_index_of_a_huge_size_costs_no_memory():
    size = 10**12

    places = {shuffle_index(i, size, 9) for i in range(1000)}

    assert len(places) == 1000
    assert max(places) < size
    assert max(places) > size // 2
