"""The name of a run is that of one request and no other."""

from pathlib import Path

from appliance.jobs import name_run
from appliance.recipe import Recipe


def test_name_of_a_run_keeps_requests_apart():
    """Oracle: the birthday bound. With 24 bits two of 10,750 requests had another one's name; n
    requests have n² / 2^(bits + 1) such pairs, which 40 bits keep below 1e-4 for 10,000."""
    recipe = Recipe()
    names = [
        name_run(
            Path("/documents"),
            None,
            recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"seed": seed})}),
        )
        for seed in range(2)
    ]
    bits = 4 * len(names[0].rpartition("-")[2])

    assert len(set(names)) == 2
    assert 10_000**2 / 2 ** (bits + 1) < 1e-4
