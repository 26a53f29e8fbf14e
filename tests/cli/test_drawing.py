"""The line at the bottom: it makes room for a sentence, and comes back."""

import dataclasses
import io

from rich.console import Console

from appliance.cli.drawing import Bar, describe_return
from appliance.events import StageFinished, StageStarted, StepDone, WentBack

STEP = StepDone(step=3, num_steps=9, loss=1.5, lr=1e-3, tokens_per_second=100.0, seconds_left=6.0)
BACK = WentBack(
    step=41, to_step=24, reason="loss became nan", rate_factor=0.25, times=2, times_at_most=3
)


def test_way_back_is_told_with_where_to_and_how_often_it_may():
    assert describe_return(BACK) == (
        "loss became nan at step 41: goes on from step 24 at 0.25 times the rate (2 of 3)"
    )


def test_line_comes_back_after_a_sentence_and_not_after_its_stage():
    drawn = io.StringIO()
    with Bar(Console(file=drawn, force_terminal=True, width=120)) as bar:
        bar.show(StageStarted(stage="tune"))
        bar.hide()
        bar.come_back()
        bar.show(STEP)
        bar.hide()  # draws what is there for the last time
        assert "step 3/9" in drawn.getvalue()
        bar.show(StageFinished(stage="tune", seconds=1.0, restored=False))
        bar.come_back()
        before = drawn.getvalue()
        bar.show(STEP)

    assert drawn.getvalue() == before


def test_terminal_that_cannot_take_a_line_back_gets_a_row_for_every_tenth(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Bar(console) as bar:
        bar.show(StageStarted(stage="tune"))
        for step in range(1, 201):
            bar.show(dataclasses.replace(STEP, step=step, num_steps=200))

    rows = capsys.readouterr().err.splitlines()
    assert [row.split()[1] for row in rows] == [str(share) for share in range(0, 101, 10)]
    assert all(row.startswith("Tune ") and len(row) <= 80 for row in rows)
