"""Pretraining: learns windows, trains embeddings slower, goes on bit for bit after a kill."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM

from appliance.dataset.pack import build_pack
from appliance.dataset.tokens import Example, write_token_file
from appliance.dataset.windows import WindowBatches
from appliance.events import StepDone, ignore_event
from appliance.tuning.load import load_base
from appliance.tuning.loop import fit
from appliance.tuning.method import METHODS, untuned
from appliance.tuning.methods import lora
from appliance.tuning.model import wrap_model
from appliance.tuning.optimizer import build_optimizer
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import measure_loss
from tests.tuning.conftest import VOCAB, make_plan

SCHEDULE = Schedule(num_steps=12, peak_lr=1e-2, warmup_steps=2, decay_steps=12, embedding_rate=0.25)
WHOLE = make_plan(tunes_head=False, tunes_embeddings=True)


@pytest.fixture
def batches(tmp_path):
    """One long document of a repeated sentence, and general text."""

    def write(name, ids):
        example = Example(token_ids=ids, supervised=[True] * len(ids), document=0)
        return write_token_file(tmp_path / name, [example], VOCAB)

    text = write("text", [3, 14, 15, 92, 65, 35, 89, 79] * 60)
    general = write("general", list(range(100)) * 3)
    return WindowBatches(
        text, general, window_tokens=48, windows_per_step=2, replay_share=0.2, seed=3
    )


def make_model(folder, plan=WHOLE, quantized=False):
    base = load_base(folder, quantized=quantized, device="cpu", compute_dtype="float32")
    return wrap_model(lora.attach(base, plan, seed=1))


def run(model, batches, folder, schedule=SCHEDULE, on_event=ignore_event):
    folder.mkdir(exist_ok=True)
    return fit(
        model,
        batches,
        schedule,
        folder=folder,
        on_event=on_event,
        should_stop=lambda: False,
    )


def read_weights(model):
    return {n: p.detach().clone() for n, p in model.module.named_parameters() if p.requires_grad}


def test_windows_of_one_long_document_are_learned(tiny_folder, batches, tmp_path):
    model = make_model(tiny_folder)
    packs = batches.read_step(0)
    before = measure_loss(model, packs)

    run(model, batches, tmp_path / "fit")

    assert measure_loss(model, packs) < 0.5 * before


@pytest.mark.parametrize("kill_after", [1, 5, 9])
def test_pretraining_killed_between_steps_ends_with_the_same_bits(
    tiny_folder, batches, tmp_path, kill_after
):
    straight = make_model(tiny_folder)
    run(straight, batches, tmp_path / "straight")

    class KilledError(Exception):
        pass

    def kill(event):
        if isinstance(event, StepDone) and event.step == kill_after + 1:
            raise KilledError

    every_step = dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0)
    with pytest.raises(KilledError):
        run(make_model(tiny_folder), batches, tmp_path / "killed", every_step, kill)
    resumed = make_model(tiny_folder)
    run(resumed, batches, tmp_path / "killed")

    wanted, ours = read_weights(straight), read_weights(resumed)
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    assert any("embed_tokens" in name for name in wanted)


def test_embeddings_and_head_learn_at_their_share_of_the_rate(tiny_folder):
    model = make_model(tiny_folder)
    parameters = {n: p for n, p in model.module.named_parameters() if p.requires_grad}

    optimizer = build_optimizer(parameters, SCHEDULE)

    share_of = {id(p): g["share"] for g in optimizer.param_groups for p in g["params"]}
    shares = {name: share_of[id(p)] for name, p in parameters.items()}
    slow = {name for name, share in shares.items() if share == 0.25}
    assert slow == {name for name in shares if "modules_to_save" in name}
    assert len(slow) == 2, "the embedding and the head"
    assert set(shares.values()) == {0.25, 1.0}


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_whole_embeddings_merge_into_the_plain_model(tiny_folder, split, tmp_path, method):
    """Oracle: the stock class of transformers, loaded from the merged checkpoint."""
    model = make_model(tiny_folder, quantized=method == "qlora")
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    pack = build_pack(split, [1])
    trained = read_logits(model, pack)
    METHODS[method].save(model.module, tmp_path / "weights")

    base = load_base(
        tiny_folder, quantized=method == "qlora", device="cpu", compute_dtype="float32"
    )
    base = base.dequantize() if method == "qlora" else base
    merged = METHODS[method].merge(METHODS[method].restore(base, tmp_path / "weights"))
    merged.save_pretrained(tmp_path / "merged")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    with torch.no_grad():
        logits = stock(input_ids=torch.from_numpy(pack.token_ids_T)[None]).logits[0]

    torch.testing.assert_close(logits, trained, rtol=1e-4, atol=1e-4)


def test_untuned_switches_whole_embeddings_off(tiny_folder, split):
    pack = build_pack(split, [1])
    plain = read_logits(
        wrap_model(load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32")),
        pack,
    )
    model = make_model(tiny_folder)
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if "modules_to_save" in name:
                parameter.mul_(1.5)
    assert not torch.allclose(read_logits(model, pack), plain)

    with untuned(model) as base:
        torch.testing.assert_close(read_logits(base, pack), plain)


@torch.no_grad()
def read_logits(model, pack):
    model.module.eval()
    return model.read_hidden(pack) @ model.read_head().t()
