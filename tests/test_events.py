"""Events survive their line of JSON; anything else on the line is refused."""

import pytest

from appliance.events import (
    Failed,
    Finished,
    HeldOut,
    Line,
    StepDone,
    WentBack,
    decode_event,
    encode_event,
    write_events_to,
)

EVENTS = [
    StepDone(step=3, num_steps=9, loss=1.5, lr=1e-3, tokens_per_second=100.0, seconds_left=6.0),
    HeldOut(step=3, loss=2.0, is_best=True),
    WentBack(step=9, to_step=4, reason="r", rate_factor=0.5, times=1, times_at_most=3),
    Line(label="Plan", text="größer → besser", detail="why"),
    Failed(error="GateError", what="a", why="b", fix="c"),
    Finished(result="{}"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_event_survives_its_line(event):
    line = encode_event(event)

    assert "\n" not in line
    assert decode_event(line) == event


@pytest.mark.parametrize("line", ["[]", '{"kind": "Other"}', '{"kind": "HeldOut", "steps": 1}'])
def test_line_that_is_no_event_is_refused(line):
    with pytest.raises(ValueError):
        decode_event(line)


def test_sink_appends_a_line_an_event(tmp_path):
    path = tmp_path / "events.jsonl"

    for event in EVENTS:
        write_events_to(path)(event)

    assert [decode_event(line) for line in path.read_text().splitlines()] == EVENTS
