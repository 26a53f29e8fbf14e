"""Several real processes that train one model: the same losses as one, whoever goes on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys

import pytest
import torch

from appliance.dataset.pack import PackedBatches
from appliance.dataset.tokens import open_token_file
from appliance.errors import InterruptedRun
from appliance.events import Failed, Note, StepDone, encode_event
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.launch import LOOPBACK, follow, open_child
from appliance.tuning.loop import fit
from appliance.tuning.ranks import Ranks
from appliance.tuning.tune import tune
from tests.tuning.conftest import make_plan
from tests.tuning.processes import open_events, read_steps, start
from tests.tuning.test_loop import SCHEDULE, make_model, read_weights
from tests.tuning.test_tune import describe_base, describe_dataset

STEPS = 10


def train(base, split, out, ranks=None, stop_after=STEPS):
    """Packs of a step that two cannot share evenly; the last step of an epoch is smaller."""
    ranks = ranks or Ranks()
    model = make_model(base)
    batches = PackedBatches(open_token_file(split), pack_tokens=64, packs_per_step=3, seed=5)
    seen = []
    write = open_events(out) if ranks.is_first else lambda event: None

    def on_event(event):
        write(event)
        seen.extend([event] if isinstance(event, StepDone) else [])

    fit(
        model,
        batches,
        dataclasses.replace(SCHEDULE, num_steps=STEPS, evaluate_every=3, num_returns=3),
        folder=out,
        held_out=batches.read_all()[:3],
        on_event=on_event,
        should_stop=lambda: ranks.agree(ranks.is_first and len(seen) >= stop_after),
        ranks=ranks,
    )
    torch.save(read_weights(model), out / f"weights-{ranks.rank}.pt")


def train_as_rank(rank, base, split, out, stop_after):
    from torch.distributed import FileStore, init_process_group

    os.environ.update(LOOPBACK)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    init_process_group("gloo", store=FileStore(str(out / "store"), 2), rank=rank, world_size=2)
    train(base, split, out, Ranks(rank=rank, size=2), stop_after)


def train_in_two(base, split, out, stop_after=STEPS):
    (out / "store").unlink(missing_ok=True)
    processes = [start(train_as_rank, rank, base, split, out, stop_after) for rank in (0, 1)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]


def test_share_of_all_ranks_is_everything_once():
    items = list(range(7))

    shares = [Ranks(rank=rank, size=3).share(items) for rank in range(3)]

    assert sorted(item for share in shares for item in share) == items


def test_two_processes_learn_what_one_learns_and_either_goes_on_for_the_other(
    tiny_folder, split, tmp_path
):
    """Oracle: one process; only the order of sums differs."""
    folder = tmp_path / "split"
    outs = {name: tmp_path / name for name in ("one", "two", "more", "fewer")}
    for out in outs.values():
        out.mkdir()

    train(tiny_folder, folder, outs["one"])
    train_in_two(tiny_folder, folder, outs["two"])
    train(tiny_folder, folder, outs["more"], stop_after=4)
    train_in_two(tiny_folder, folder, outs["more"])
    train_in_two(tiny_folder, folder, outs["fewer"], stop_after=4)
    train(tiny_folder, folder, outs["fewer"])

    expected = [row["loss"] for row in read_steps(outs["one"])]
    assert len(expected) == STEPS
    for name in ("two", "more", "fewer"):
        losses = [row["loss"] for row in read_steps(outs[name])]
        assert losses == pytest.approx(expected, rel=1e-5), name
    first, second = (torch.load(outs["two"] / f"weights-{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def job(tiny_folder, split, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_folder, base)
    return describe_base(base), describe_dataset(split)


def make_stage(folder, stop_after):
    """A stage that is to stop after so many steps, and its events."""
    events = []
    stage = StageFolder(
        name="tune",
        folder=folder / "tune",
        run=folder,
        on_event=events.append,
        should_stop=lambda: sum(isinstance(e, StepDone) for e in events) >= stop_after,
    )
    stage.folder.mkdir(exist_ok=True)
    return stage, events


def do_stage(job, folder, num_processes, stop_after=1000):
    stage, events = make_stage(folder, stop_after)
    plan = make_plan(packs_per_step=2, num_processes=num_processes, threads=2)
    tuned = tune(plan, *job, TuneRecipe(lr=3e-2), stage)
    return tuned, [event for event in events if isinstance(event, StepDone)]


@pytest.mark.slow
def test_stage_in_two_processes_stops_when_asked_and_goes_on_in_one(job, tmp_path):
    with pytest.raises(InterruptedRun):
        do_stage(job, tmp_path, 2, stop_after=3)
    tuned, steps = do_stage(job, tmp_path, 1)

    assert steps[0].step >= 4
    assert steps[-1].step == tuned.num_steps
    assert tuned.held_out_loss < tuned.start_loss


def test_process_that_fails_ends_the_others_and_what_was_said_is_kept(tmp_path):
    """Two real processes: one waits for ever, the other speaks and fails."""
    said = Failed(error="TrainingError", what="diverged", why="", fix="")
    stage, events = make_stage(tmp_path, 1000)
    waiting = open_child([sys.executable, "-c", "input()"], {})
    speaking = f"import sys; print({encode_event(Note(text='first'))!r}); "
    speaking += f"print({encode_event(said)!r}); sys.exit(7)"
    failing = open_child([sys.executable, "-c", speaking], {})

    assert follow([waiting, failing], stage) == (7, said)
    assert waiting.returncode == -signal.SIGKILL
    assert events == [Note(text="first")]


def test_wish_to_stop_reaches_the_first_process(tmp_path):
    stage, _ = make_stage(tmp_path, 0)
    first = open_child([sys.executable, "-c", "assert input() == 'stop'; exit(130)"], {})

    assert follow([first], stage) == (130, None)
