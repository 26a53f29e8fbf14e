"""The loop learns, keeps the best, and goes on bit for bit after a kill."""

import dataclasses
import math

import pytest
import torch

from appliance.dataset.pack import PackedBatches
from appliance.events import CheckpointSaved, HeldOut, StepDone, ignore_event
from appliance.tuning.load import load_base
from appliance.tuning.loop import fit
from appliance.tuning.methods import lora
from appliance.tuning.model import wrap_model
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import measure_loss
from tests.tuning.conftest import make_plan

SCHEDULE = Schedule(num_steps=24, peak_lr=2e-2, warmup_steps=2, decay_steps=24, evaluate_every=6)


def make_model(folder):
    base = load_base(folder, quantized=False, device="cpu", compute_dtype="float32")
    return wrap_model(lora.attach(base, make_plan(), seed=1))


def make_batches(split, **changes):
    return PackedBatches(split, **({"pack_tokens": 64, "packs_per_step": 2, "seed": 5} | changes))


def read_weights(model):
    return {n: p.detach().clone() for n, p in model.module.named_parameters() if p.requires_grad}


def run(model, split, folder, schedule=SCHEDULE, should_stop=lambda: False, on_event=ignore_event):
    folder.mkdir(exist_ok=True)
    batches = make_batches(split)
    return fit(
        model,
        batches,
        schedule,
        folder=folder,
        held_out=batches.read_all()[:2],
        on_event=on_event,
        should_stop=should_stop,
    )


def test_fit_lowers_the_held_out_loss(tiny_folder, split, tmp_path):
    model = make_model(tiny_folder)
    held_out = make_batches(split).read_all()[:2]
    before = measure_loss(model, held_out)

    counters = run(model, split, tmp_path / "fit")

    assert counters.step == 24
    assert counters.best_loss < 0.8 * before
    assert measure_loss(model, held_out) == pytest.approx(counters.best_loss, rel=1e-6)


@pytest.mark.parametrize("kill_after", [1, 6, 13])
def test_fit_resumed_after_a_kill_ends_with_the_same_bits(tiny_folder, split, tmp_path, kill_after):
    straight = make_model(tiny_folder)
    run(straight, split, tmp_path / "straight")

    class KilledError(Exception):
        pass

    def kill(event):
        if isinstance(event, StepDone) and event.step == kill_after + 1:
            raise KilledError  # after the update of this step, before its checkpoint

    every_step = dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0)
    with pytest.raises(KilledError):
        run(make_model(tiny_folder), split, tmp_path / "killed", every_step, on_event=kill)
    resumed = make_model(tiny_folder)
    steps = []
    run(
        resumed,
        split,
        tmp_path / "killed",
        on_event=lambda event: steps.append(event.step) if isinstance(event, StepDone) else None,
    )

    assert steps[0] == kill_after + 1
    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(resumed).items())


def test_fit_asked_to_stop_leaves_a_checkpoint(tiny_folder, split, tmp_path):
    seen = []

    counters = run(
        make_model(tiny_folder),
        split,
        tmp_path / "fit",
        should_stop=lambda: len(seen) >= 3,
        on_event=lambda event: seen.append(event) if isinstance(event, StepDone) else None,
    )

    assert counters.step == 3
    assert (tmp_path / "fit" / "latest.safetensors").exists()


def test_fit_stops_when_the_held_out_loss_rises(tiny_folder, split, tmp_path):
    hopeless = dataclasses.replace(
        SCHEDULE, num_steps=60, peak_lr=1.0, evaluate_every=2, stop_after_worse=2, decay_steps=0
    )
    events = []

    counters = run(
        make_model(tiny_folder), split, tmp_path / "fit", hopeless, on_event=events.append
    )

    assert counters.step < 60
    assert counters.num_worse == 2
    held_out = [event for event in events if isinstance(event, HeldOut)]
    assert not held_out[-1].is_best
    assert isinstance(events[-1], CheckpointSaved)


def test_fit_raises_when_the_loss_is_not_finite(tiny_folder, split, tmp_path):
    model = make_model(tiny_folder)
    with torch.no_grad():
        next(iter(p for p in model.module.parameters() if p.requires_grad)).fill_(math.nan)

    with pytest.raises(FloatingPointError, match="step 1"):
        run(model, split, tmp_path / "fit")


def test_step_loss_is_the_mean_over_the_labels_of_all_its_packs(tiny_folder, split, tmp_path):
    """Oracle: one pack that holds the same examples."""
    model = make_model(tiny_folder)
    losses = []

    def note(event):
        if isinstance(event, StepDone):
            losses.append(event.loss)

    for packs_per_step, pack_tokens in ((1000, 64), (1, 10_000)):
        folder = tmp_path / str(pack_tokens)
        folder.mkdir()
        fit(
            make_model(tiny_folder),
            make_batches(split, packs_per_step=packs_per_step, pack_tokens=pack_tokens),
            dataclasses.replace(SCHEDULE, num_steps=1),
            folder=folder,
            on_event=note,
            should_stop=lambda: False,
        )

    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] == pytest.approx(measure_loss(model, make_batches(split).read_all()), rel=1e-5)


def test_schedule_rises_and_falls_linearly():
    schedule = Schedule(num_steps=10, peak_lr=1.0, warmup_steps=2, decay_steps=5)

    rates = [schedule.rate_at(step) for step in range(10)]

    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
