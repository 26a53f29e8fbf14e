"""The training loop under kills, signals and flipped bits, until every run ends; `strike_trainer`.

    LD_PRELOAD=shim.so python -m tests.faults.trainer_flow KILLS SEED

One process imports torch; every attempt at a run is a fork of it. Each blow falls at a random
moment, or at a random call that opens, writes, syncs or renames a file of the run; after some of
them a bit of a checkpoint flips. Oracle: the weights of a run that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.faults import shim
from tests.faults.shim import NO_FAULT, Fault

BLOWS = ("kill", "kill", "kill at a call", "kill at a call", "signal at a call", "bit flip")
"""What may happen to an attempt; each happens once before any happens again."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGTERM and SIGINT ask for an early end; SIGHUP ends it, as for the worker."""

EXACT_CALLS = {"open": 40, "write": 120, "sync": 80, "rename": 40}
"""Kinds of calls and the highest number that is drawn: a run of 24 steps makes about as many."""

NUM_STEPS = 24


@dataclass(kw_only=True, slots=True)
class TrainerFigures:
    """What became of the runs.

    Attributes:
        blows: how often an attempt was struck, by kind in `by_kind`.
        kills: of these, kills.
        runs: runs that came to their end.
        wrong_weights: of these, with other bits than the undisturbed one.
        failed: attempts that ended by an error.
        steps: of training, over all attempts.
        steps_again: of these, done before and lost.
        found: damaged checkpoints that were noticed.
        unnoticed: bits flipped in a checkpoint that changed it and were not noticed.
        left: temporary files beside the checkpoints of runs that had ended.
        examples: the first things that went wrong.
        seconds: of the whole campaign.
    """

    blows: int = 0
    kills: int = 0
    by_kind: dict[str, int] = dataclasses.field(default_factory=dict)
    runs: int = 0
    wrong_weights: int = 0
    failed: int = 0
    steps: int = 0
    steps_again: int = 0
    found: int = 0
    unnoticed: int = 0
    left: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def num_wrong(self) -> int:
        """Promises that were not kept."""
        return self.wrong_weights + self.failed + self.unnoticed + self.left


def strike_trainer(*, kills: int, seed: int) -> TrainerFigures:
    """Strike in a process that has the library, and wait for its figures.

    Args:
        kills: how often it is killed; half as many signals and flipped bits come besides.
        seed: of what happens, and when.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(kills), str(seed)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=shim.preload(),
        check=True,
    )
    return TrainerFigures(**json.loads(done.stdout))


def main(kills: int, seed: int) -> None:
    """Strike; the figures as JSON."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="trainer-", dir=shim.choose_place(), ignore_cleanup_errors=True
    ) as folder:
        campaign = _Campaign(Path(folder).resolve(), random.Random(seed))
        while campaign.figures.kills < kills:
            campaign.do_run(kills)
        figures = campaign.figures
    figures.seconds = round(time.monotonic() - began, 1)
    print(json.dumps(dataclasses.asdict(figures)))


class _Campaign:
    """One run after the other, each struck until it comes to its end."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.trainer = _Trainer(folder / "base")
        self.figures = TrainerFigures()
        self.blows: list[str] = []
        began = time.monotonic()
        rows = self._attempt(folder / "undisturbed", NO_FAULT)
        self.run_seconds = time.monotonic() - began
        self.expected = rows[-1]["weights"]

    def do_run(self, most: int) -> None:
        """One run to its end; it is left alone when there were `most` kills."""
        folder = self.folder / f"run-{self.figures.runs}"
        steps: list[int] = []
        while True:
            is_struck = self.figures.kills < most and self.chance.random() < 0.9
            rows = self._strike(folder) if is_struck else self._attempt(folder, NO_FAULT)
            steps += [row["step"] for row in rows if "step" in row]
            self._note_failure(rows)
            if any("weights" in row for row in rows):
                break
        self.figures.runs += 1
        self.figures.steps += len(steps)
        self.figures.steps_again += len(steps) - len(set(steps))
        self._judge(folder, rows[-1]["weights"])

    def _strike(self, folder: Path) -> list[dict]:
        self.blows = self.blows or self.chance.sample(BLOWS, len(BLOWS))
        kind = self.blows.pop()
        figures = self.figures
        figures.blows += 1
        figures.by_kind[kind] = figures.by_kind.get(kind, 0) + 1
        figures.kills += kind.startswith("kill")
        match kind:
            case "kill":
                seconds = self.chance.uniform(0, self.run_seconds)
                return self._attempt(folder, NO_FAULT, kill_after=seconds)
            case "kill at a call":
                action = self.chance.choice(("kill before", "kill after"))
                return self._attempt(folder, self._draw(action))
            case "signal at a call":
                number = int(self.chance.choice(SIGNALS))
                return self._attempt(folder, self._draw("signal", number))
        rows = self._attempt(folder, self._draw("kill before"))
        changed = self._flip_bit(folder)
        if any("weights" in row for row in rows) or not changed:
            self.blows.append(kind)  # it fell on nothing: again
            return rows
        more = self._attempt(folder, NO_FAULT)
        is_found = any("damaged" in row.get("note", "") for row in more)
        figures.found += is_found
        figures.unnoticed += not is_found
        return [*rows, *more]

    def _draw(self, action: str, value: int = 0) -> Fault:
        call = self.chance.choice(list(EXACT_CALLS))
        at = self.chance.randint(1, EXACT_CALLS[call])
        return Fault(call=call, at=at, action=action, value=value)

    def _flip_bit(self, folder: Path) -> bool:
        """Flip one bit of one checkpoint; whether that changes what it says."""
        paths = sorted(folder.glob("*.safetensors"))
        path = self.chance.choice(paths) if paths else None
        if path is None:
            return False
        data = bytearray(path.read_bytes())
        before = _digest(data)
        place = self.chance.randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        return _digest(data) != before

    def _attempt(
        self, folder: Path, fault: Fault, *, kill_after: float | None = None
    ) -> list[dict]:
        """Fork, train in the fork; what it told."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            self.trainer.train(folder, fault, writer)
        os.close(writer)
        if kill_after is not None:
            pidfd = os.pidfd_open(child)
            select.select([pidfd], [], [], kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.close(pidfd)
        with os.fdopen(reader) as file:
            lines = file.read().split("\n")[:-1]
        os.waitpid(child, 0)
        return [json.loads(line) for line in lines]

    def _note_failure(self, rows: list[dict]) -> None:
        for row in rows:
            if "error" in row:
                self.figures.failed += 1
                self.figures.examples = [*self.figures.examples, row["error"]][:5]

    def _judge(self, folder: Path, weights: str) -> None:
        left = [path.name for path in folder.iterdir() if not path.name.endswith(".safetensors")]
        self.figures.wrong_weights += weights != self.expected
        self.figures.left += len(left)
        if left:
            self.figures.examples = [*self.figures.examples, f"left: {left}"][:5]


def _digest(data: bytes) -> str:
    """All that a checkpoint says; "" where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        tensors = load(bytes(data))
    except (SafetensorError, ValueError, OverflowError, MemoryError):
        return ""
    bodies = [tensors[name].numpy().tobytes() for name in sorted(tensors)]
    return hashlib.sha256(repr((header, bodies)).encode()).hexdigest()


class _Trainer:
    """A tiny base and its packs; every attempt attaches an adapter and trains it."""

    def __init__(self, folder: Path) -> None:
        import numpy as np
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
        from transformers.utils import logging

        from appliance.dataset.pack import PackedBatches
        from appliance.dataset.tokens import Example, write_token_file

        logging.disable_progress_bar()
        torch.set_num_threads(1)
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=128,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=128,
            tie_word_embeddings=False,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        rng = np.random.default_rng(3)
        examples = []
        for document in range(40):
            length = int(rng.integers(8, 40))
            ids = [int(rng.integers(128) + 3 * step) % 128 for step in range(length)]
            supervised = [True] * length
            examples.append(
                Example(token_ids=ids, supervised=supervised, document=document, num_bytes=length)
            )
        split = write_token_file(folder / "train", examples, 128)
        self.folder = folder
        self.batches = PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=5)
        self.held_out = self.batches.read_all()[:2]
        self.model = self._attach()  # before any fork: its libraries take seconds to import

    def train(self, folder: Path, fault: Fault, writer: int) -> None:
        """Train as a worker does, tell on the pipe, and leave the process."""
        from appliance.events import Note, StepDone
        from appliance.tuning.loop import fit

        is_asked = False

        def ask(*_: object) -> None:
            nonlocal is_asked
            is_asked = True

        def tell(**row: object) -> None:
            os.write(writer, json.dumps(row).encode() + b"\n")

        def on_event(event: object) -> None:
            if isinstance(event, StepDone):
                tell(step=event.step)
            elif isinstance(event, Note):
                tell(note=event.text)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)
        try:
            folder.mkdir(exist_ok=True)
            shim.arm(folder, fault)
            counters = fit(
                self.model,
                self.batches,
                self._schedule(),
                folder=folder,
                held_out=self.held_out,
                on_event=on_event,
                should_stop=lambda: is_asked,
            )
            if counters.step == NUM_STEPS and not is_asked:
                tell(weights=_hash_weights(self.model))
        except BaseException as exc:
            tell(error=f"{fault}: {exc!r}")
        finally:
            os._exit(0)

    def _schedule(self):
        from appliance.tuning.schedule import Schedule

        return Schedule(
            num_steps=NUM_STEPS,
            peak_lr=2e-2,
            warmup_steps=2,
            decay_steps=NUM_STEPS,
            evaluate_every=4,
            checkpoint_seconds=0.0,
            num_returns=3,
        )

    def _attach(self):
        from appliance.tuning.load import load_base
        from appliance.tuning.methods import lora
        from appliance.tuning.model import wrap_model
        from tests.tuning.conftest import make_plan

        base = load_base(self.folder, quantized=False, device="cpu", compute_dtype="float32")
        return wrap_model(lora.attach(base, make_plan(), seed=1))


def _hash_weights(model) -> str:
    """sha256 of what learned."""
    total = hashlib.sha256()
    for name, value in sorted(model.module.named_parameters()):
        if value.requires_grad:
            total.update(name.encode() + value.detach().numpy().tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
