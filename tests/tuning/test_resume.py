"""A damaged checkpoint is never read. Oracle: the weights of a run that nobody disturbed."""

from __future__ import annotations

import dataclasses
import random
import subprocess

import pytest
import torch

from appliance.events import Note, StepDone
from appliance.tuning.checkpoint import Counters, find_damage, save_checkpoint
from tests.tuning.test_loop import SCHEDULE, make_model, read_weights, run

EVERY_STEP = dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0)


@pytest.fixture
def checkpoint(tmp_path):
    parameters = {"a": torch.randn(5, 3), "b": torch.randn(7).to(torch.bfloat16)}
    path = tmp_path / "latest.safetensors"
    save_checkpoint(
        path, parameters, torch.optim.AdamW(parameters.values()), Counters(step=3, best_loss=1.5)
    )
    return path


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_whole_checkpoint_has_no_damage(checkpoint):
    assert find_damage(checkpoint) == ""


def test_every_flipped_bit_of_a_checkpoint_is_found(checkpoint):
    """But for one that makes JSON's white space another white space: it changes nothing."""
    whole = checkpoint.read_bytes()
    places = range(len(whole) * 8)
    chance = random.Random(4)
    missed = []
    for bit in chance.sample(places, 400):
        flip(checkpoint, bit)
        if not find_damage(checkpoint):
            missed.append(bit)
        checkpoint.write_bytes(whole)

    assert missed == []


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_checkpoint_that_was_cut_off_is_damaged(checkpoint, size):
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])

    assert find_damage(checkpoint)


@pytest.mark.parametrize(
    ("damaged", "goes_on_at", "told"),
    [
        (("latest",), 13, "the latest checkpoint is damaged"),
        (("best",), 1, "the best checkpoint is damaged"),
        (("latest", "best"), 1, "the best checkpoint is damaged"),
    ],
)
def test_training_goes_on_from_the_checkpoint_that_is_whole(
    tiny_folder, split, tmp_path, damaged, goes_on_at, told
):
    straight = make_model(tiny_folder)
    run(straight, split, tmp_path / "straight", EVERY_STEP)
    steps = []
    run(
        make_model(tiny_folder),
        split,
        tmp_path / "damaged",
        EVERY_STEP,
        should_stop=lambda: len(steps) == 15,
        on_event=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
    )
    for name in damaged:
        path = tmp_path / "damaged" / f"{name}.safetensors"
        flip(path, 8 * path.stat().st_size - 20)

    events = []
    resumed = make_model(tiny_folder)
    run(resumed, split, tmp_path / "damaged", EVERY_STEP, on_event=events.append)

    assert next(event.step for event in events if isinstance(event, StepDone)) == goes_on_at
    assert any(told in event.text for event in events if isinstance(event, Note))
    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(resumed).items())


def test_what_a_killed_writer_of_the_last_checkpoint_left_is_removed(tiny_folder, split, tmp_path):
    folder = tmp_path / "run"
    run(make_model(tiny_folder), split, folder, EVERY_STEP)
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = folder / f".latest.safetensors.{ended.pid}.partial", folder / ".tmpAbCdEf"
    for path in left:
        path.write_bytes(b"half of it")

    run(make_model(tiny_folder), split, folder, EVERY_STEP)

    assert [path for path in left if path.exists()] == []
