"""Variants of the low-rank methods: a rate of its own for B, noise on the embeddings."""

import dataclasses
import shutil

import pytest
import torch

from appliance.dataset.pack import PackedBatches, build_pack
from appliance.events import StepDone, ignore_event
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.load import load_base
from appliance.tuning.loop import fit
from appliance.tuning.methods import lora
from appliance.tuning.model import wrap_model
from appliance.tuning.optimizer import build_optimizer
from appliance.tuning.schedule import Schedule
from appliance.tuning.tune import tune
from tests.tuning.conftest import make_plan
from tests.tuning.test_tune import job  # noqa: F401  (a fixture)

SCHEDULE = Schedule(num_steps=6, peak_lr=1e-3, warmup_steps=0, decay_steps=0)


def make_model(folder, noise=0.0):
    base = load_base(folder, quantized=False, device="cpu", compute_dtype="float32")
    model = wrap_model(lora.attach(base, make_plan(), seed=1))
    model.module.train()
    return dataclasses.replace(model, noise=noise)


def read_weights(model):
    return {n: p.detach().clone() for n, p in model.module.named_parameters() if p.requires_grad}


def test_b_learns_as_many_times_faster_as_the_recipe_says(tiny_folder):
    model = make_model(tiny_folder)
    before = read_weights(model)
    parameters = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    schedule = dataclasses.replace(SCHEDULE, lora_b_rate=16.0)
    optimizer = build_optimizer(parameters, schedule)
    for group in optimizer.param_groups:
        group["lr"] = schedule.peak_lr * group["share"]  # as the loop sets it
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)

    optimizer.step()

    # Oracle: AdamW's first step is the learning rate, whatever the gradient's size.
    for name, parameter in parameters.items():
        moved = (parameter - before[name]).abs().mean().item()
        assert moved == pytest.approx(1.6e-2 if "lora_B" in name else 1e-3, rel=1e-3), name


@torch.no_grad()
def test_noise_has_the_size_of_its_paper_in_training_and_is_absent_elsewhere(tiny_folder, split):
    model, pack = make_model(tiny_folder, noise=5.0), build_pack(split, [0, 1, 2])
    ids_1T = torch.from_numpy(pack.token_ids_T)[None]
    plain_TD = model.decoder.get_input_embeddings()(ids_1T)[0]
    noise_TD = model._add_noise(ids_1T, pack)[0] - plain_TD
    quiet_TD = dataclasses.replace(model, noise=0.0).read_hidden(pack)

    for start, end in pack.segments:  # alpha / sqrt(length * width), for each example
        part = noise_TD[start:end]
        bound = 5.0 / (part.numel()) ** 0.5
        assert 0.95 * bound < part.abs().max() <= bound * (1 + 1e-5)
    assert not torch.allclose(model.read_hidden(pack), quiet_TD, atol=1e-3)
    model.module.eval()
    torch.testing.assert_close(model.read_hidden(pack), quiet_TD)


def test_training_with_noise_goes_on_with_the_same_bits_after_a_kill(tiny_folder, split, tmp_path):
    class KilledError(Exception):
        pass

    def kill(event):
        if isinstance(event, StepDone) and event.step == 4:
            raise KilledError

    def run(name, schedule=SCHEDULE, on_event=ignore_event):
        model, folder = make_model(tiny_folder, noise=5.0), tmp_path / name
        folder.mkdir(exist_ok=True)
        batches = PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=5)
        fit(model, batches, schedule, folder=folder, on_event=on_event, should_stop=lambda: False)
        return read_weights(model)

    straight = run("straight")
    with pytest.raises(KilledError):
        run("killed", dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0), kill)
    torch.rand(7)  # whatever another process has drawn

    resumed = run("killed")

    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())


def test_noise_is_the_same_when_rates_were_tried_before_a_restart(job, tmp_path):  # noqa: F811
    """Killed between the trials and the first checkpoint, a run draws the same noise."""

    def run(name):
        stage = StageFolder(
            name=name,
            folder=tmp_path / name,
            run=tmp_path,
            on_event=ignore_event,
            should_stop=lambda: False,
        )
        stage.folder.mkdir(exist_ok=True)
        recipe = TuneRecipe(embedding_noise=5.0, lora_b_rate=4.0)
        tune(make_plan(num_epochs=1, num_steps=3, packs_per_step=8), *job, recipe, stage)
        return (stage.folder / "weights" / "adapter_model.safetensors").read_bytes()

    straight = run("straight")
    (tmp_path / "restarted").mkdir()
    shutil.copyfile(tmp_path / "straight" / "rates.json", tmp_path / "restarted" / "rates.json")

    assert run("restarted") == straight
