"""The name of a run is that of one request and no other."""

from pathlib import Path

from appliance.jobs import name_run
from appliance.recipe import Recipe


def test_requests_that_differ_have_runs_of_their_own():
    """With six digits, some two of 11,000 requests shared one: an order got another one's job."""
    recipe = Recipe()
    names = {
        name_run(
            Path("/tmp/x/documents"),
            None,
            recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"seed": seed})}),
        )
        for seed in range(11_000)
    }

    assert len(names) == 11_000
