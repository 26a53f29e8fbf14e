"""General text is watched while a model learns, and read again, bit for bit, where it suffers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from appliance.dataset.pack import build_pack
from appliance.dataset.tokens import Example, write_token_file
from appliance.dataset.windows import ReplayWindows
from appliance.events import HeldOut, Note, StepDone, ignore_event
from appliance.tuning.checkpoint import Counters
from appliance.tuning.drift import GeneralText, answer_drift, describe_answer, has_ended
from appliance.tuning.loop import fit
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import measure_loss
from tests.tuning.conftest import VOCAB
from tests.tuning.test_loop import make_batches, make_model, read_weights

SCHEDULE = Schedule(num_steps=24, peak_lr=2e-2, warmup_steps=2, decay_steps=24, evaluate_every=3)


@pytest.fixture
def general_split(tmp_path):
    """Text that falls by one each token; the documents rise by three."""
    rng = np.random.default_rng(4)
    examples = [
        Example(
            token_ids=[(int(start) - step) % VOCAB for step in range(40)],
            supervised=[True] * 40,
            document=number,
        )
        for number, start in enumerate(rng.integers(VOCAB, size=24))
    ]
    return write_token_file(tmp_path / "general", examples, VOCAB)


def open_general(split, model, limit):
    packs = [build_pack(split, [row]) for row in range(4)]
    replay = ReplayWindows(split, window_tokens=64, packs_per_step=2, seed=5)
    return GeneralText(
        held_out=packs, replay=replay, base_loss=measure_loss(model, packs), limit=limit
    )


def run(model, split, folder, general, on_event=ignore_event, schedule=SCHEDULE):
    folder.mkdir(exist_ok=True)
    batches = make_batches(split)
    return fit(
        model,
        batches,
        schedule,
        folder=folder,
        held_out=batches.read_all()[:2],
        general=general,
        on_event=on_event,
        should_stop=lambda: False,
    )


@pytest.mark.parametrize(
    ("rise", "share", "lowered"), [(0.03, 0.0, 0), (0.09, 0.1, 0), (0.11, 0.1, 1)]
)
def test_rise_near_the_limit_is_answered_with_replay_and_beyond_it_with_a_lower_rate(
    rise, share, lowered
):
    after = answer_drift(Counters(), rise, limit=0.1)

    assert (after.replay_share, after.num_lowered) == (share, lowered)
    told = describe_answer(Counters(), after, rise, 0.1)
    assert ("read again" in told, "halved" in told) == (share > 0, lowered > 0)


def test_share_of_general_text_is_raised_only_while_it_gets_worse():
    once = answer_drift(Counters(), 0.07, limit=0.1)
    falling = answer_drift(once, 0.06, limit=0.1)
    rising = answer_drift(falling, 0.08, limit=0.1)

    assert [c.replay_share for c in (once, falling, rising)] == [0.1, 0.1, 0.2]
    assert describe_answer(once, falling, 0.06, 0.1) == ""


def test_rise_that_stays_beyond_the_limit_ends_the_run():
    counters = Counters()
    for _ in range(3):
        counters = answer_drift(counters, 0.5, limit=0.1)
        assert not has_ended(counters)

    ended = answer_drift(counters, 0.5, limit=0.1)

    assert has_ended(ended)
    assert (ended.replay_share, ended.num_lowered) == (0.3, 3)
    assert "training ends here" in describe_answer(counters, ended, 0.5, 0.1)
    assert answer_drift(counters, 0.05, limit=0.1).num_over == 0, "in a row"


def test_replay_reads_its_share_of_windows_each_once_a_round(general_split):
    replay = ReplayWindows(general_split, window_tokens=64, packs_per_step=2, seed=5)

    windows = [pack for step in range(75) for pack in replay.read_step(step, 0.1)]

    assert len(windows) == 15  # 75 steps of 2 packs, a tenth of them
    assert len(replay.read_all()) == 15  # 24 examples of 40 tokens in windows of 64
    assert len({pack.token_ids_T.tobytes() for pack in windows}) == 15
    assert not [pack for step in range(75) for pack in replay.read_step(step, 0.0)]


def test_replay_of_nothing_is_nothing(tmp_path):
    empty = write_token_file(tmp_path / "empty", [], VOCAB)

    assert not ReplayWindows(empty, window_tokens=64, packs_per_step=2, seed=5).read_step(9, 0.3)


def test_replay_keeps_general_text_better(tiny_folder, split, general_split, tmp_path):
    """Oracle: the same training with a limit so high that nothing is done."""
    rises, events = {}, []
    for limit in (100.0, 0.05):
        model = make_model(tiny_folder)
        general = open_general(general_split, model, limit)
        run(model, split, tmp_path / str(limit), general, events.append)
        rises[limit] = [e.general_rise for e in events if isinstance(e, HeldOut)][-1]

    assert rises[100.0] > 0.05
    assert rises[0.05] < rises[100.0]
    assert any(isinstance(event, Note) and "read again" in event.text for event in events)


def test_weights_within_the_limit_are_kept_before_better_ones_beyond_it(
    tiny_folder, split, general_split, tmp_path
):
    model, events = make_model(tiny_folder), []
    general = open_general(general_split, model, limit=0.02)

    counters = run(model, split, tmp_path / "fit", general, events.append)

    checks = [event for event in events if isinstance(event, HeldOut)]
    within = [event for event in checks if event.general_rise <= 0.02]
    if within:
        assert counters.best_step == min(within, key=lambda event: event.loss).step
        assert not counters.best_is_beyond
    else:
        assert counters.best_step == min(checks, key=lambda event: event.loss).step
        assert counters.best_is_beyond
    assert measure_loss(model, general.held_out) / general.base_loss - 1 == pytest.approx(
        counters.best_rise, abs=1e-6
    )


def test_run_killed_after_it_began_to_replay_ends_with_the_same_bits(
    tiny_folder, split, general_split, tmp_path
):
    straight = make_model(tiny_folder)
    general = open_general(general_split, straight, limit=0.05)
    events = []
    counters = run(straight, split, tmp_path / "straight", general, events.append)
    assert counters.replay_share > 0
    began = next(
        e.step for e in events if isinstance(e, HeldOut) and e.general_rise > 0.4 * general.limit
    )

    class KilledError(Exception):
        pass

    def kill(event):
        if isinstance(event, StepDone) and event.step == began + 2:
            raise KilledError

    every_step = dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0)
    with pytest.raises(KilledError):
        run(make_model(tiny_folder), split, tmp_path / "k", general, kill, every_step)
    resumed = make_model(tiny_folder)
    run(resumed, split, tmp_path / "k", general)

    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(resumed).items())
