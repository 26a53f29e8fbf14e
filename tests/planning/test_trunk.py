"""Where the plan expects hidden states to be kept. Oracle: sizes, and the loop's own rule."""

import pytest

from appliance.planning.training import Training
from appliance.planning.trunk import count_cache_bytes, place_cache
from appliance.recipe import TuneRecipe
from tests.planning.machines import make_spec

ADAPTER = Training(method="adapter", sequence_length=512)
TOKENS = 100_000
NEEDED = 110_000 * 2 * 256 * 4


def place(memory, disk, *, epochs=2, wanted="auto", training=ADAPTER):
    recipe = TuneRecipe(cache_hidden_states=wanted)
    return place_cache(make_spec("embedded"), training, recipe, TOKENS, epochs, memory, disk)


def test_cache_holds_two_states_of_every_token():
    assert count_cache_bytes(make_spec("embedded"), ADAPTER, TOKENS) == NEEDED


@pytest.mark.parametrize(
    ("memory", "disk", "where"),
    [
        (2 * NEEDED, 0, "memory"),
        (2 * NEEDED - 2, NEEDED, "disk"),
        (-1, NEEDED, "disk"),
        (NEEDED, NEEDED - 1, "off"),
    ],
)
def test_cache_lies_in_memory_then_on_the_disk_then_nowhere(memory, disk, where):
    assert place(memory, disk) == where


def test_cache_is_for_adapters_that_read_more_than_once():
    room = 4 * NEEDED
    assert place(room, room, epochs=1) == "off"
    assert place(room, room, wanted="off") == "off"
    assert place(0, 0, wanted="disk") == "disk"
    qlora = Training(method="qlora", sequence_length=512)
    assert place(room, room, training=qlora) == "off"
