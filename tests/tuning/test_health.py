"""A run that falls ill goes back to its last good checkpoint, at half the rate, not for ever."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from appliance.dataset.pack import PackedBatches
from appliance.events import HeldOut, StepDone, WentBack, ignore_event
from appliance.tuning.checkpoint import Counters
from appliance.tuning.health import find_illness, is_jump, remember_loss
from appliance.tuning.loop import fit
from appliance.tuning.schedule import Schedule
from tests.tuning.test_loop import make_model, read_weights

SCHEDULE = Schedule(
    num_steps=24, peak_lr=2e-2, warmup_steps=2, decay_steps=24, evaluate_every=6, num_returns=3
)


class DamagedBatches:
    """Packs of a split, and a fault of the machine: at a step, the weights turn bad once."""

    def __init__(self, split, model, step, value, times=1):
        self._batches = PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=5)
        self._model, self._step, self._value, self._left = model, step, value, times
        self.read_all = self._batches.read_all

    def read_step(self, step):
        if step >= self._step and self._left:
            self._left -= 1
            with torch.no_grad():
                for parameter in self._model.module.parameters():
                    if parameter.requires_grad:
                        noise = torch.Generator().manual_seed(parameter.numel())
                        parameter.normal_(generator=noise).mul_(self._value)
        return self._batches.read_step(step)


def run(model, batches, folder, schedule=SCHEDULE, on_event=ignore_event):
    folder.mkdir(exist_ok=True)
    return fit(
        model,
        batches,
        schedule,
        folder=folder,
        held_out=batches.read_all()[:2],
        on_event=on_event,
        should_stop=lambda: False,
    )


@pytest.mark.parametrize(
    ("value", "reason", "step"),
    [(math.nan, "loss became nan", 16), (5.0, "loss jumped from about", 17)],
)
def test_run_goes_back_to_its_best_checkpoint_and_on_at_half_the_rate(
    tiny_folder, split, tmp_path, value, reason, step
):
    model, events = make_model(tiny_folder), []

    counters = run(
        model, DamagedBatches(split, model, 15, value), tmp_path / "fit", on_event=events.append
    )

    (back,) = (event for event in events if isinstance(event, WentBack))
    best = [e.step for e in events[: events.index(back)] if isinstance(e, HeldOut) and e.is_best]
    assert back.reason.startswith(reason)
    assert (back.step, back.to_step) == (step, best[-1])
    assert (back.rate_factor, back.times) == (0.5, 1)
    after = next(e for e in events[events.index(back) :] if isinstance(e, StepDone))
    assert after.step == best[-1] + 1
    assert after.lr == pytest.approx(0.5 * SCHEDULE.rate_at(best[-1]))
    assert counters.step == 24
    assert counters.num_returns == 1
    assert all(torch.isfinite(value).all() for value in read_weights(model).values())


def test_run_ill_before_its_first_held_out_loss_goes_back_to_the_start(
    tiny_folder, split, tmp_path
):
    model, events = make_model(tiny_folder), []

    run(model, DamagedBatches(split, model, 3, math.nan), tmp_path / "fit", on_event=events.append)

    (back,) = (event for event in events if isinstance(event, WentBack))
    assert (back.step, back.to_step) == (4, 0)


def test_run_that_stays_ill_ends_with_the_reason(tiny_folder, split, tmp_path):
    model, events = make_model(tiny_folder), []
    batches = DamagedBatches(split, model, 10, math.nan, times=1000)

    with pytest.raises(FloatingPointError, match=r"loss became nan at step 11 after 3 ways back"):
        run(model, batches, tmp_path / "fit", on_event=events.append)

    factors = [event.rate_factor for event in events if isinstance(event, WentBack)]
    assert factors == [0.5, 0.25, 0.125]


def test_gradient_that_is_no_number_is_an_illness():
    assert find_illness(Counters(), 2.0, math.inf) == "the gradient became inf"
    assert find_illness(Counters(), 2.0, 1e4) == "", "a large one is clipped"


def test_loss_is_told_to_jump_only_beyond_noise_and_after_a_while():
    counters = Counters()
    for step in range(9):
        counters = remember_loss(counters, 3.0 + 0.1 * (-1) ** step)

    assert not is_jump(counters, 30.0), "too early to tell"
    counters = remember_loss(counters, 3.0)
    assert counters.loss_mean == pytest.approx(3.0, abs=0.1)
    assert not is_jump(counters, 4.4), "less than half above the mean"
    assert is_jump(counters, 4.7)


def test_one_loss_that_jumps_is_a_document_and_two_are_an_illness():
    counters = Counters(loss_mean=3.0, loss_variance=0.01, num_calm=20)

    assert find_illness(counters, 9.0, 1.0) == ""
    once = remember_loss(counters, 9.0)
    assert (once.num_jumps, once.loss_mean) == (1, 3.0)
    assert find_illness(once, 8.0, 1.0) == "loss jumped from about 3.00 to 8.00"
    assert remember_loss(once, 3.1).num_jumps == 0


def test_noisy_losses_widen_the_limit():
    counters = Counters()
    for step in range(40):
        counters = remember_loss(counters, 3.0 + 1.5 * (-1) ** step)

    assert not is_jump(counters, 7.0)


def test_run_killed_after_it_went_back_ends_with_the_same_bits(tiny_folder, split, tmp_path):
    straight = make_model(tiny_folder)
    run(straight, DamagedBatches(split, straight, 15, math.nan), tmp_path / "straight")

    class KilledError(Exception):
        pass

    seen = []

    def kill(event):
        seen.append(event)
        was_ill = any(isinstance(event, WentBack) for event in seen)
        if was_ill and isinstance(event, StepDone) and event.step == 20:
            raise KilledError

    rarely = dataclasses.replace(SCHEDULE, checkpoint_seconds=1e9)
    first, resumed = make_model(tiny_folder), make_model(tiny_folder)
    with pytest.raises(KilledError):
        run(first, DamagedBatches(split, first, 15, math.nan), tmp_path / "k", rarely, kill)
    run(resumed, DamagedBatches(split, resumed, 0, 0.0, times=0), tmp_path / "k", rarely)

    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(resumed).items())
