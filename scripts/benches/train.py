"""Training beside TRL: the same base, examples, order and rank, each in a process of its own.

    scripts/bench train --json FILE              all sizes
    scripts/bench train --only "14 M"            one size
    scripts/bench train --threads 1              on one core

TRL's SFTTrainer with PEFT and bitsandbytes runs in a virtual environment that this script makes
(`--work`), pinned below. It is measured with its defaults, and with the best settings that a person
can give it: no recomputation, adapters in fp32, and the faster of one padded batch and of single
examples accumulated. Runs follow each other in the order A B C C B A, so that a load that rises or
falls meets all alike; what is reported are medians and their ratios. On one core tokens are counted
by the processor's time, which leaves out what other programs take; on several by the clock.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(HERE)]

from main_job import describe_machine, find_data  # noqa: E402
from peers import make_peer  # noqa: E402

from appliance.daemon.child import ALLOCATOR  # noqa: E402
from appliance.offline import go_offline  # noqa: E402

PEER = ("trl==1.16.0", "datasets==5.2.0", "peft", "bitsandbytes", "transformers", "torch")
"""What the peer's environment holds; the rest as in constraints.txt."""

SIZES = {"embedded": 8, "14 M": 6, "107 M": 3, "348 M": 2}
"""Steps of a run; the first is not timed."""

EXAMPLES_PER_STEP = 8
RANK, RATE = 16, 1e-3
MAX_TOKENS = 512
WAYS = ("ours", "trl", "trl-best-padded", "trl-best-single")

TARGETS = {"14 M": (6.0, 2.4), "107 M": (2.5, 1.3)}
"""How many times faster than TRL's defaults, and than its best settings."""

MEMORY_TARGET = 0.8
UTILISATION_TARGET = 0.7
OVERHEAD_TARGET = 0.03

Row = dict[str, Any]


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write rows and checks.")
@click.option("--only", multiple=True, type=click.Choice(list(SIZES)), help="Sizes to run.")
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "build" / "bench-train")
@click.option("--threads", default=os.cpu_count() or 1, help="Cores of every run.")
@click.option("--repeats", default=2, help="Runs of each way.")
def main(
    json_file: Path | None, only: tuple[str, ...], work: Path, threads: int, repeats: int
) -> None:
    """Train with this program and with TRL, and hold speed and memory against the targets."""
    go_offline()
    work = work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    peer = make_peer(work / "trl", PEER)
    rows, checks = [], []
    for size in only or SIZES:
        base = make_base(size, work)
        data = make_data(base, work / "examples.jsonl", SIZES[size])
        setting = {
            "base": str(base),
            "size": size,
            "data": str(data),
            "steps": SIZES[size],
            "examples_per_step": EXAMPLES_PER_STEP,
            "rank": RANK,
            "rate": RATE,
            "threads": threads,
        }
        ways = WAYS if peer else WAYS[:1]
        order = [way for number in range(repeats) for way in ways[:: -1 if number % 2 else 1]]
        runs: dict[str, list[Row]] = {way: [] for way in ways}
        for way in order:
            runs[way].append(run(way, peer, setting, work))
            click.echo(f"{size} {way}: {json.dumps(runs[way][-1])}", err=True)
        row = {"size": size, "threads": threads} | {
            way: join_runs(results) for way, results in runs.items()
        }
        rows.append(row)
        checks += list_checks(row)
    for check in checks:
        mark = "ok    " if check["ok"] else "MISSED"
        click.echo(f"{mark} {check['name']}: {check['value']:.4g} (target {check['target']})")
    if json_file:
        body = {"machine": describe_machine(), "peer": PEER, "rows": rows, "checks": checks}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(body, indent=1) + "\n")
    sys.exit(0 if all(check["ok"] for check in checks) else 1)


def make_base(size: str, work: Path) -> Path:
    """A folder with weights and the embedded base's tokenizer; random weights but for that base."""
    from appliance.bases.catalogue import find_bases

    embedded = next(spec for spec in find_bases("embedded").specs)
    if size == "embedded":
        return Path(embedded.folder)
    folder = work / f"base-{size.replace(' ', '')}"
    if not (folder / "tokenizer.json").exists():
        command = [sys.executable, HERE / "planner_child.py", "make", size, folder]
        subprocess.run(command, check=True, cwd=ROOT)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((Path(embedded.folder) / name).read_bytes())
    return folder


def make_data(base: Path, path: Path, steps: int) -> Path:
    """Questions and answers as token ids, in the order in which they are learned.

    Written once by this program, so that both learn the same tokens with the same labels.
    """
    from appliance.dataset.tokenizer import load_tokenizer

    source = find_data() / "qa" / "medquad-niddk" / "qa.jsonl"
    if not source.exists():
        raise click.ClickException(f"{source} is not there: questions and answers to learn from")
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    tokenizer = load_tokenizer(base).plain
    end = tokenizer.token_to_id("<|end|>") or 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows[: steps * EXAMPLES_PER_STEP]:
            prompt = tokenizer.encode(row["question"] + "\n", add_special_tokens=False).ids
            answer = tokenizer.encode(row["answer"], add_special_tokens=False).ids
            answer = [*answer[: MAX_TOKENS - len(prompt) - 1], end]
            file.write(json.dumps({"prompt": prompt, "answer": answer}) + "\n")
    return path


def run(way: str, peer: Path | None, setting: Row, work: Path) -> Row:
    """One training in a process of its own."""
    child = HERE / ("train_ours.py" if way == "ours" else "train_trl.py")
    python = sys.executable if way == "ours" else str(peer)
    variables = os.environ | {"OMP_NUM_THREADS": str(setting["threads"])}
    if way == "ours":
        variables |= ALLOCATOR  # as the program starts its own worker
    done = subprocess.run(
        [python, child],
        input=json.dumps(setting | {"way": way, "work": str(work)}),
        capture_output=True,
        text=True,
        check=False,
        env=variables,
    )
    if done.returncode:
        raise click.ClickException(f"{way} failed:\n{done.stderr[-3000:]}")
    result: Row = json.loads(done.stdout.splitlines()[-1])
    return result


def join_runs(results: Sequence[Row]) -> Row:
    """Medians over the runs of one way."""
    joined = dict(results[0])
    for key in (
        "tokens_per_second",
        "tokens_per_cpu_second",
        "peak_bytes",
        "utilisation",
        "overhead",
    ):
        values = [result[key] for result in results if result.get(key) is not None]
        if values:
            joined[key] = statistics.median(values)
    return joined


def list_checks(row: Row) -> list[Row]:
    """What was asked, beside what came out."""
    size, ours, checks = row["size"], row["ours"], []
    speed = "tokens_per_cpu_second" if row["threads"] == 1 else "tokens_per_second"

    def add(name: str, value: float, target: float, *, least: bool) -> None:
        ok = value >= target if least else value <= target
        sign = ">=" if least else "<="
        checks.append(
            {"name": f"{size}: {name}", "value": value, "target": f"{sign} {target}", "ok": ok}
        )

    if "trl" in row:
        best = max((row[way] for way in WAYS[2:]), key=lambda result: float(result[speed]))
        if size in TARGETS:
            for name, peer, target in zip(
                ("speed against TRL's defaults", "speed against TRL's best settings"),
                (row["trl"], best),
                TARGETS[size],
                strict=True,
            ):
                value = ours[speed] / peer[speed]
                add(name, value, target, least=True)
        add(
            "memory against TRL's best",
            ours["peak_bytes"] / best["peak_bytes"],
            MEMORY_TARGET,
            least=False,
        )
        gap = abs(ours["losses"][-1] / best["losses"][-1] - 1)
        add("last loss against TRL's best, apart", gap, 0.02, least=False)
        if best["labels"] != ours["labels"]:
            raise click.ClickException(f"{size}: not the same labels were learned")
    if size in ("107 M", "348 M"):
        add("share of plain products (HFU)", ours["utilisation"], UTILISATION_TARGET, least=True)
    add("loop beside the model", ours["overhead"], OVERHEAD_TARGET, least=False)
    return checks


if __name__ == "__main__":
    main()
