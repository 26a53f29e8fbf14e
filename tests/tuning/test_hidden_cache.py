"""Adapter tuning with cached hidden states: the same bits, wherever they lie and whatever happens.

The oracle is the run without a cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import resource

import pytest
import torch

from appliance.dataset.pack import PackedBatches
from appliance.errors import DiskFullError, NotFreeError
from appliance.events import Note, StepDone, ignore_event
from appliance.tuning.hidden_cache import (
    count_cached_bytes,
    keep_hidden_states,
    measure_difference,
)
from appliance.tuning.hidden_store import DiskStore, MemoryStore, name_pack
from appliance.tuning.load import load_base
from appliance.tuning.loop import fit
from appliance.tuning.methods import adapter
from appliance.tuning.model import wrap_model
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import measure_loss
from appliance.tuning.trunk import CachedModel, find_first
from tests.tuning.conftest import make_plan
from tests.tuning.test_methods import disturb

SCHEDULE = Schedule(num_steps=30, peak_lr=2e-2, warmup_steps=2, decay_steps=30, evaluate_every=6)
TOKEN_BYTES = 2 * 64 * 4
"""Two states of width 64 in fp32."""


def make_model(folder, *, top_share=0.5):
    base = load_base(folder, quantized=True, device="cpu", compute_dtype="float32")
    layers = base.get_decoder().layers
    model = adapter.attach(base, make_plan(method="adapter"), seed=1)
    if top_share == 1.0:  # a bottleneck in every layer: the trunk is an embedding and attention
        mlp = layers[0].mlp
        layers[0].mlp = adapter.GatedBottleneck(mlp, 64, 4, torch.device("cpu"))
    return wrap_model(model)


def make_batches(split):
    return PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=5)


def read_weights(model):
    return {n: p.detach().clone() for n, p in model.module.named_parameters() if p.requires_grad}


def run(model, split, folder, **changes):
    folder.mkdir(exist_ok=True)
    batches = make_batches(split)
    options = dict(on_event=ignore_event, should_stop=lambda: False)
    return fit(
        model,
        batches,
        changes.pop("schedule", SCHEDULE),
        folder=folder,
        held_out=batches.read_all()[:2],
        **(options | changes),
    )


@pytest.fixture
def make_store(tmp_path):
    """Stores in RAM or on the disk, closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def make(place, num_tokens=10_000, token_bytes=TOKEN_BYTES):
            if place == "memory":
                return MemoryStore(num_tokens, token_bytes)
            store = DiskStore(num_tokens, token_bytes, tmp_path)
            stack.callback(store.close)
            return store

        yield make


def wrap(model, store):
    return CachedModel(model=model, first=find_first(model.decoder), store=store)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_training_with_a_cache_has_the_bits_of_training_without(
    tiny_folder, split, tmp_path, make_store, place
):
    plain, straight = [], make_model(tiny_folder)
    run(straight, split, tmp_path / "plain", on_event=plain.append)

    cached, events = wrap(make_model(tiny_folder), make_store(place)), []
    run(cached, split, tmp_path / "cached", on_event=events.append)

    losses = [[e.loss for e in row if isinstance(e, StepDone)] for row in (plain, events)]
    assert losses[0] == losses[1]
    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(cached).items())


def test_trunk_runs_once_for_a_pack(tiny_folder, split, tmp_path, make_store):
    model = make_model(tiny_folder)
    calls = []
    model.decoder.layers[0].register_forward_hook(lambda *_: calls.append(1))
    batches = make_batches(split)
    num_packs = len(batches.read_all())
    assert batches.steps_per_epoch < SCHEDULE.num_steps, "there is a second epoch"

    run(wrap(model, make_store("disk")), split, tmp_path / "fit")

    assert len(calls) == num_packs


def test_cache_with_room_for_some_packs_computes_the_others(
    tiny_folder, split, tmp_path, make_store
):
    straight = make_model(tiny_folder)
    run(straight, split, tmp_path / "plain")
    store = make_store("disk", num_tokens=150)

    cached = wrap(make_model(tiny_folder), store)
    run(cached, split, tmp_path / "cached")

    kept = [
        pack for pack in make_batches(split).read_all() if store.read(name_pack(pack)) is not None
    ]
    assert 1 <= len(kept) <= 150 // 30
    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(cached).items())


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_run_killed_in_the_second_epoch_ends_with_the_same_bits(
    tiny_folder, split, tmp_path, make_store, place
):
    straight = make_model(tiny_folder)
    run(straight, split, tmp_path / "straight")

    class KilledError(Exception):
        pass

    def kill(event):
        if isinstance(event, StepDone) and event.step == 14:
            raise KilledError

    every_step = dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0)
    first = wrap(make_model(tiny_folder), make_store(place))
    with pytest.raises(KilledError):
        run(first, split, tmp_path / "killed", schedule=every_step, on_event=kill)
    resumed = wrap(make_model(tiny_folder), make_store(place))  # knows no pack yet
    run(resumed, split, tmp_path / "killed")

    expected = read_weights(straight)
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(resumed).items())


@pytest.mark.parametrize("top_share", [0.5, 1.0])
def test_cache_makes_no_difference_also_with_a_bottleneck_in_every_layer(
    tiny_folder, split, top_share
):
    model = make_model(tiny_folder, top_share=top_share)
    disturb(model.module)
    store = MemoryStore(10_000, TOKEN_BYTES)

    assert measure_difference(model, wrap(model, store), make_batches(split).read_all()[0]) == 0


def test_disk_keeps_16_bit_states_to_the_bit_and_leaves_no_file(tmp_path, make_store):
    store = make_store("disk", num_tokens=100, token_bytes=2 * 8 * 2)
    states = torch.randn(2, 50, 8).to(torch.bfloat16)

    store.write(b"first", states)
    store.write(b"second", 2 * states)
    store.write(b"third", 3 * states)

    assert torch.equal(store.read(b"first"), states)
    assert torch.equal(store.read(b"second"), 2 * states)
    assert store.read(b"third") is None, "there was room for two"
    assert list(tmp_path.iterdir()) == [], "the file has no name: nothing outlives the process"


def open_cache(model, split, folder, place="auto", events=None, **changes):
    plan = make_plan(**({"method": "adapter", "num_epochs": 3} | changes))
    packs = make_batches(split).read_all()
    on_event = ignore_event if events is None else events.append
    return keep_hidden_states(model, lambda: packs, plan, place, folder, on_event)


@pytest.mark.parametrize("place", ["auto", "memory", "disk"])
def test_cache_is_opened_for_several_epochs(tiny_folder, split, tmp_path, place):
    model = make_model(tiny_folder)
    packs = make_batches(split).read_all()
    num_tokens = sum(len(pack.token_ids_T) for pack in packs)

    with open_cache(model, split, tmp_path, place) as cached:
        assert isinstance(cached, CachedModel)
        expected = 0 if place == "disk" else num_tokens * TOKEN_BYTES
        assert count_cached_bytes(cached) == expected
        assert measure_loss(cached, packs) == measure_loss(model, packs)


def test_cache_is_not_opened_where_it_does_not_pay(tiny_folder, split, tmp_path):
    model = make_model(tiny_folder)

    with open_cache(model, split, tmp_path, num_epochs=1) as reader:
        assert reader is model, "one epoch reads every pack once"
    with open_cache(model, split, tmp_path, "off") as reader:
        assert reader is model


def test_cache_of_a_method_without_a_trunk_is_refused_with_a_note(tiny_folder, split, tmp_path):
    model = wrap_model(
        load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32")
    )
    events = []

    with open_cache(model, split, tmp_path, "disk", events, method="lora") as reader:
        assert reader is model

    assert events == [Note(text="nothing is cached: lora has no frozen trunk")]


def test_base_that_computes_otherwise_is_not_cached(tiny_folder, split, tmp_path):
    model = make_model(tiny_folder)
    layer = model.decoder.layers[1]
    layer.register_forward_hook(lambda module, args, out: 1.5 * out)  # as in no known family
    layer.self_attn.register_forward_hook(lambda module, args, out: (2 * out[0], out[1]))
    model.decoder.register_forward_hook(
        lambda module, args, out: type(out)(last_hidden_state=1.01 * out.last_hidden_state)
    )
    events = []

    with open_cache(model, split, tmp_path, events=events) as reader:
        assert reader is model

    assert "computes them otherwise" in events[0].text


def test_cache_asked_for_where_there_is_no_room_is_an_error_with_figures(
    tiny_folder, split, tmp_path
):
    model, memory = make_model(tiny_folder), make_plan().memory
    no_ram = memory.model_copy(update={"weights_bytes": 2**60})

    with (
        pytest.raises(NotFreeError, match=r"needs .* of RAM"),
        open_cache(model, split, tmp_path, "memory", memory=no_ram),
    ):
        pass
    with (
        pytest.raises(DiskFullError, match=r"needs .* of disk"),
        open_cache(model, split, tmp_path, "disk", disk_bytes=2**60),
    ):
        pass


def test_auto_goes_to_the_disk_and_then_without(tiny_folder, split, tmp_path):
    model, memory = make_model(tiny_folder), make_plan().memory
    no_ram = memory.model_copy(update={"weights_bytes": 2**60})
    events = []

    with open_cache(model, split, tmp_path, memory=no_ram) as reader:
        assert isinstance(reader, CachedModel)
        assert isinstance(reader.store, DiskStore)
    with open_cache(
        model, split, tmp_path, "auto", events, memory=no_ram, disk_bytes=2**60
    ) as reader:
        assert reader is model
    assert "fit neither RAM nor disk" in events[0].text


def test_disk_that_is_full_when_room_is_reserved_is_an_error(tmp_path):
    """A limit on the size of a file stands for the full disk: the same call fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            DiskStore(10_000, TOKEN_BYTES, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
