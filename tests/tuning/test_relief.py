"""Memory that runs out: the step is done again in smaller pieces, and the curve stays."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from appliance.dataset.pack import build_pack, cut_pack
from appliance.dataset.tokens import Example, write_token_file
from appliance.errors import ResourceError
from appliance.events import Relieved, StepDone
from appliance.planning.calibration import load_notes, record_run
from appliance.tuning.hold import count_kills, hold_memory, read_boot
from appliance.tuning.loop import fit
from appliance.tuning.model import compute_twice
from appliance.tuning.ranks import ALONE
from appliance.tuning.relief import MemoryLadder, MemoryNotes, Relief, list_reliefs
from appliance.values import TunedModel
from tests.systemd.groups import PREFIX, find_controllers, find_hierarchy, remove_groups
from tests.tuning.conftest import make_plan
from tests.tuning.processes import read_events, read_steps, run, tune_within
from tests.tuning.test_loop import SCHEDULE, make_batches, make_model
from tests.tuning.test_tune import describe_base, describe_dataset

NUM_STEPS = 3


class Ceiling:
    """A model that runs out of memory where a pack is longer than so many tokens."""

    def __init__(self, model, most, error):
        self.module, self.most, self.error, self._model = model.module, most, error, model
        self.decoder, self.read_head, self.longest = model.decoder, model.read_head, []
        self.logit_cap = model.logit_cap

    def read_hidden(self, pack):
        if self.module.training:
            self.longest.append(len(pack.token_ids_T))
            if len(pack.token_ids_T) > self.most:
                self._model.read_hidden(pack)  # part of the step is done when it breaks off
                raise self.error
        return self._model.read_hidden(pack)


def train(model, split, folder, ladder=None, on_event=lambda event: None):
    folder.mkdir()
    losses = []
    batches = make_batches(split)
    fit(
        model,
        batches,
        dataclasses.replace(SCHEDULE, num_steps=8, evaluate_every=0),
        folder=folder,
        on_event=lambda e: losses.append(e.loss) if isinstance(e, StepDone) else on_event(e),
        should_stop=lambda: False,
        ladder=ladder,
    )
    return losses


def test_pack_cut_between_examples_keeps_every_label(split):
    pack = build_pack(split, list(range(12)))

    pieces = cut_pack(pack, 64)

    assert len(pieces) > 2
    assert all(len(piece.token_ids_T) <= 64 for piece in pieces)
    for name in ("token_ids_T", "labels_T", "positions_T"):
        joined = [value for piece in pieces for value in getattr(piece, name).tolist()]
        assert joined == getattr(pack, name).tolist()
    assert all(piece.segments[0][0] == 0 for piece in pieces)
    assert sum(len(piece.segments) for piece in pieces) == 12


def test_example_longer_than_a_piece_stays_whole(split):
    pack = build_pack(split, [0, 1])

    assert [piece.segments for piece in cut_pack(pack, 1)] == [
        ((0, end - start),) for start, end in pack.segments
    ]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_step_that_runs_out_is_done_again_in_pieces_with_the_same_curve(
    tiny_folder, split, tmp_path, error
):
    """Oracle: the run that had the memory; only the order of sums differs."""
    expected = train(make_model(tiny_folder), split, tmp_path / "plenty")
    model, told = Ceiling(make_model(tiny_folder), 40, error), []
    applied = []
    ladder = MemoryLadder(
        reliefs=(Relief(parts=2), Relief(parts=2, recompute=True)),
        pack_tokens=64,
        apply=applied.append,
        on_event=told.append,
    )

    losses = train(model, split, tmp_path / "short", ladder)

    assert losses == pytest.approx(expected, rel=2e-6)
    (news,) = told
    assert isinstance(news, Relieved)
    assert (news.step, news.done, news.times) == (1, "packs are cut in 2", 1)
    assert "more memory than training already has" in news.reason
    assert applied == [Relief(parts=2)]
    assert max(model.longest) > 40 >= max(model.longest[2:])


def test_layers_computed_twice_give_the_same_curve_bit_for_bit(tiny_folder, split, tmp_path):
    """On a CPU the second time is the first time again; oracle: the run that had the memory."""
    expected = train(make_model(tiny_folder), split, tmp_path / "once")
    model = make_model(tiny_folder)
    ladder = MemoryLadder(
        reliefs=(Relief(recompute=True),), apply=lambda _: compute_twice(model.module)
    )
    ladder.take_next(1, "a test", 0)

    assert train(model, split, tmp_path / "twice", ladder) == expected
    assert model.decoder.layers[0].gradient_checkpointing


def test_end_of_the_ladder_is_an_error_with_a_way_out(tiny_folder, split, tmp_path):
    model = Ceiling(make_model(tiny_folder), 0, torch.OutOfMemoryError("CUDA out of memory"))
    ladder = MemoryLadder(reliefs=(Relief(parts=2),), pack_tokens=64)

    with pytest.raises(ResourceError, match="out of memory at step 1") as caught:
        train(model, split, tmp_path / "none", ladder)

    assert "although packs are cut in 2" in caught.value.why
    assert caught.value.fix


def test_other_errors_are_not_taken_for_lack_of_memory(tiny_folder, split, tmp_path):
    model = Ceiling(make_model(tiny_folder), 0, RuntimeError("size mismatch"))

    with pytest.raises(RuntimeError, match="size mismatch"):
        train(model, split, tmp_path / "ill", MemoryLadder(reliefs=(Relief(parts=2),)))


def test_ladder_ends_in_ram_on_a_gpu_alone():
    cpu, gpu = (list_reliefs(make_plan(device=name)) for name in ("cpu", "cuda:0"))

    assert [r.describe() for r in cpu] == [
        "packs are cut in 2",
        "packs are cut in 2, layers are computed twice",
        "packs are cut in 4, layers are computed twice",
        "packs are cut in 8, layers are computed twice",
    ]
    assert not any(relief.offload for relief in cpu)
    assert gpu[-1] == Relief(parts=8, recompute=True, offload=True)
    assert list_reliefs(make_plan(recompute=True))[0] == Relief(parts=2, recompute=True)


@pytest.fixture
def stage(tmp_path):
    from appliance.rundir import StageFolder

    events = []
    return StageFolder(
        name="tune", folder=tmp_path, run=tmp_path, on_event=events.append,
        should_stop=lambda: False,
    ), events  # fmt: skip


@pytest.mark.parametrize(
    ("boot", "kills_before", "taken"), [("this", 1, 1), ("this", 0, 0), ("other", 1, 0), ("", 1, 0)]
)
def test_only_a_kill_for_memory_since_it_began_takes_the_next_rung(
    tiny_folder, stage, boot, kills_before, taken
):
    """A person's kill -9 leaves the count as it was, a power cut begins another boot."""
    folder, events = stage
    if not count_kills() and kills_before:
        pytest.skip("the kernel has killed nothing since it booted, or does not count")
    notes = MemoryNotes(
        boot=read_boot() if boot == "this" else boot, kills=count_kills() - kills_before
    )
    (folder.folder / "memory.json").write_text(json.dumps(dataclasses.asdict(notes)))
    model, spec = make_model(tiny_folder), describe_base(tiny_folder)

    with hold_memory(model, spec, make_plan(), folder, ALONE) as ladder:
        held = ladder.notes

    assert held.taken == taken == len(events)
    left = json.loads((folder.folder / "memory.json").read_text())
    assert (left["taken"], left["boot"]) == (taken, "")


def test_notes_of_a_run_that_ran_out_say_that_it_needs_more(tmp_path):
    plan = make_plan(memory_limit_bytes=100)
    tuned = TunedModel(
        folder="", method="lora", lr=1e-3, trials=(), step=1, num_steps=1, num_tokens=1,
        num_labels=1, start_loss=1, held_out_loss=1, peak_memory_bytes=50,
        planned_memory_bytes=0, tokens_per_second=5, seconds=1, reliefs=("packs are cut in 2",),
        wanted_memory_bytes=120,
    )  # fmt: skip

    record_run(tmp_path / "notes.json", plan, tuned)

    (note,) = load_notes(tmp_path / "notes.json").runs
    assert note.measured_bytes == 120
    assert note.planned_tokens_per_second == 0, "its speed tells nothing about the plan's"


@pytest.fixture(scope="module")
def deep_job(tmp_path_factory):
    """A deep, narrow base and long packs: much memory for little arithmetic."""
    folder = tmp_path_factory.mktemp("deep")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=12,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=128,
        tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    examples = [
        Example(
            token_ids=[(number + 3 * step) % 128 for step in range(64)],
            supervised=[True] * 64,
            document=number,
            num_bytes=64,
        )
        for number in range(NUM_STEPS * 64)
    ]
    split = write_token_file(folder / "split", examples, 128)
    valid = write_token_file(folder / "valid", examples[:2], 128)
    plan = make_plan(sequence_length=4096, returns_memory=True)
    return describe_base(folder / "base"), describe_dataset(split, valid), plan, folder


@contextlib.contextmanager
def limited(num_bytes: int) -> Iterator[Path]:
    """A real control group with a limit of memory, on whichever version the machine has."""
    hierarchy = find_hierarchy()
    if os.getuid() or hierarchy is None or not find_controllers(hierarchy):
        pytest.skip("only root can make a control group with a limit, where there is a hierarchy")
    is_new = find_controllers(hierarchy) == [hierarchy]
    top = hierarchy if is_new else Path("/sys/fs/cgroup/memory")
    group = top / f"{PREFIX}{os.getpid()}-memory"
    group.mkdir()
    try:
        (group / ("memory.max" if is_new else "memory.limit_in_bytes")).write_text(str(num_bytes))
        yield group
    finally:
        remove_groups([group])


def read_most(group: Path) -> int:
    files = (group / "memory.peak", group / "memory.max_usage_in_bytes")
    return int(next(file for file in files if file.exists()).read_text())


def make_out(folder: Path, name: str) -> Path:
    out = folder / name
    out.mkdir()
    return out


@pytest.fixture(scope="module")
def plenty(deep_job):
    """A run that had the memory: its losses, and the most that its group held."""
    spec, dataset, plan, folder = deep_job
    out = make_out(folder, "plenty")
    with limited(2**31) as group:
        assert run(tune_within, group, spec, dataset, plan, out) == 0
        most = read_most(group)
    assert not read_events(out, "Relieved")
    return [row["loss"] for row in read_steps(out)], most


@pytest.mark.slow
def test_training_over_a_memory_limit_ends_well_with_the_same_curve(deep_job, plenty):
    spec, dataset, plan, folder = deep_job
    losses, most = plenty
    out = make_out(folder, "short")
    with limited(int(0.7 * most)) as group:
        code = run(tune_within, group, spec, dataset, plan, out)

    tuned = TunedModel.model_validate_json((out / "tuned.json").read_text())
    assert code == 0
    assert [row["loss"] for row in read_steps(out)] == pytest.approx(losses, rel=1e-5)
    assert len(tuned.reliefs) == len(read_events(out, "Relieved")) >= 1
    assert "left of the memory limit" in read_events(out, "Relieved")[0]["reason"]
    assert tuned.wanted_memory_bytes > 0


@pytest.mark.slow
def test_training_killed_by_the_kernel_takes_the_next_rung_and_goes_on(deep_job, plenty):
    spec, dataset, plan, folder = deep_job
    losses, most = plenty
    out = make_out(folder, "killed")
    with limited(int(1.5 * most)) as group:
        first = run(tune_within, group, spec, dataset, plan, out, 2)
        second = run(tune_within, group, spec, dataset, plan, out)

    assert (first, second) == (-signal.SIGKILL, 0)
    (relieved,) = read_events(out, "Relieved")
    assert relieved["reason"] == "the kernel killed the last attempt for its memory"
    steps = {row["step"]: row["loss"] for row in read_steps(out)}
    assert list(steps.values()) == pytest.approx(losses, rel=1e-5)
    assert len(read_steps(out)) <= NUM_STEPS + 1, "it went on from the last step, not from nought"
