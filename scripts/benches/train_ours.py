"""One training with this program's own loop: the setting as JSON on stdin.

The model, the method and the loop are those of a job; only which examples a step reads is given
from outside, so that a peer reads the same.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from appliance.offline import go_offline  # noqa: E402

PACK_TOKENS = 512


class Stopwatch:
    """Adds up the time that wrapped functions take."""

    def __init__(self) -> None:
        """Start at nought."""
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its time added."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


class GivenBatches:
    """The examples of a file, so many a step, in its order, packed within the step."""

    def __init__(self, split: Any, per_step: int) -> None:
        """Of an open token file."""
        self._split, self._per_step = split, per_step

    @property
    def steps_per_epoch(self) -> int:
        """Steps that read the file once."""
        return len(self._split.examples_E5) // self._per_step

    def read_step(self, step: int) -> list[Any]:
        """The packs of a step."""
        from appliance.dataset.pack import build_pack, fill_packs

        first = step * self._per_step
        lengths = self._split.lengths_E[first : first + self._per_step].tolist()
        return [
            build_pack(self._split, [first + item for item in bin_])
            for bin_ in fill_packs(lengths, max(PACK_TOKENS, *lengths))
        ]


def write_examples(setting: dict[str, Any], folder: Path, vocab_size: int) -> Any:
    """The examples as the program's own token file."""
    from appliance.dataset.tokens import Example, write_token_file

    lines = Path(setting["data"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return write_token_file(
        folder,
        [
            Example(
                token_ids=row["prompt"] + row["answer"],
                supervised=[False] * len(row["prompt"]) + [True] * len(row["answer"]),
                document=number,
                num_bytes=len(row["answer"]),
            )
            for number, row in enumerate(rows)
        ],
        vocab_size,
    )


def main(setting: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train, and tell what was measured."""
    import torch
    from planner_child import Setting, _make_plan

    from appliance.bases.spec import read_spec
    from appliance.events import StepDone
    from appliance.tuning import step
    from appliance.tuning.loop import fit
    from appliance.tuning.schedule import Schedule
    from appliance.tuning.tune import prepare_model
    from appliance.tuning.utilisation import measure_utilisation

    torch.set_num_threads(setting["threads"])
    spec = read_spec(Path(setting["base"]))
    planned = Setting(
        base=setting["size"],
        method="qlora",
        tokens=PACK_TOKENS,
        rank=setting["rank"],
        threads=setting["threads"],
        keeps_unpacked=True,  # as planned for bases of these sizes wherever there are some GiB
    )
    plan = _make_plan(planned, spec)
    split = write_examples(setting, folder / "examples", spec.vocab_size)
    model = prepare_model(spec, plan, seed=0)
    batches = GivenBatches(split, setting["examples_per_step"])
    compute, ticks, losses = Stopwatch(), [], []
    step.sum_pack_loss = compute.wrap(step.sum_pack_loss)
    torch.Tensor.backward = compute.wrap(torch.Tensor.backward)  # type: ignore[method-assign]
    torch.optim.AdamW.step = compute.wrap(torch.optim.AdamW.step)  # type: ignore[method-assign]

    def note(event: Any) -> None:
        if isinstance(event, StepDone):
            ticks.append((time.perf_counter(), time.process_time()))
            losses.append(event.loss)

    schedule = Schedule(
        num_steps=setting["steps"],
        peak_lr=setting["rate"],
        warmup_steps=0,
        decay_steps=0,
        checkpoint_seconds=1e9,
    )
    started = time.perf_counter()
    counters = fit(
        model, batches, schedule, folder=folder, on_event=note, should_stop=lambda: False
    )
    seconds = time.perf_counter() - started
    tokens = [sum(len(p.token_ids_T) for p in batches.read_step(n)) for n in range(len(ticks))]
    speed, by_cpu = (sum(tokens[1:]) / (ticks[-1][k] - ticks[0][k]) for k in (0, 1))
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return {
        "tokens_per_second": speed,
        "tokens_per_cpu_second": by_cpu,
        "peak_bytes": int(peak[1]) * 1024 if peak else None,
        "labels": counters.num_labels,
        "losses": losses,
        "utilisation": measure_utilisation(spec, plan, speed),
        "overhead": 1 - compute.seconds / seconds,
    }


if __name__ == "__main__":
    go_offline()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(main(json.load(sys.stdin), Path(name))))
