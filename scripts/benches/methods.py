"""Every method and variant at equal text on the embedded base.

    scripts/bench methods --json FILE                  all, three seeds
    scripts/bench methods --only qlora --only adapter  some

Each learns from the same packs in the same order, as often as `--epochs` says. Its learning rate is
the best of three or more on the validation split with the first seed: where the lowest or highest
of them is the best, the next one beyond is tried, too. The seeds then differ in the initial weights
and in the order, and what is reported are losses of the test split. Variants that the program does
not offer are attached here, with PEFT, to know whether it should.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from main_job import CORPORA, describe_machine, find_data  # noqa: E402

from appliance.offline import go_offline  # noqa: E402

Row = dict[str, Any]
LOW_RANK = (3e-3, 9e-3, 2.7e-2)
MORE_RATES = 3
"""Rates that are tried beyond a variant's own at most."""


@dataclass(frozen=True)
class Variant:
    """How the base is trained.

    Attributes:
        method: of the program.
        rates: learning rates that are tried.
        rank: or width of the bottleneck, or virtual tokens.
        head: whether the head gets an update.
        upper: whether only the layers learn that a bottleneck would have.
        peft: options of PEFT that the program does not offer.
        schedule: changes of the loop's schedule.
        noise: on the embeddings.
    """

    method: str
    rates: tuple[float, ...] = LOW_RANK
    rank: int = 16
    head: bool = True
    upper: bool = False
    peft: Row = field(default_factory=dict)
    schedule: Row = field(default_factory=dict)
    noise: float = 0.0


VARIANTS = {
    "full": Variant("full", (1e-3, 3e-3, 9e-3), head=False),
    "lora": Variant("lora"),
    "qlora": Variant("qlora"),
    "qlora, LoRA+ 4": Variant("qlora", (1e-3, *LOW_RANK[:2]), schedule={"lora_b_rate": 4.0}),
    "qlora, noise 5": Variant("qlora", noise=5.0),
    "qlora, no head": Variant("qlora", head=False),
    "DoRA, no head": Variant("qlora", head=False, peft={"use_dora": True}),
    "PiSSA, no head": Variant("qlora", head=False, peft={"init_lora_weights": "pissa"}),
    "adapter, width 64": Variant("adapter", (6e-3, 1.8e-2, 5.4e-2), rank=64, head=False),
    "LoRA r=10, adapter's layers": Variant("qlora", rank=10, head=False, upper=True),
    "prompt, 16 tokens": Variant("prompt", (3e-2, 9e-2, 2.7e-1), head=False),
}


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures.")
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Variants to run.")
@click.option("--corpus", type=click.Choice(list(CORPORA)), default="clef-handbook")
@click.option("--seeds", default=3, help="Runs of each variant at its best rate.")
@click.option("--epochs", default=1, help="Times that the training split is read.")
def main(
    json_file: Path | None, only: tuple[str, ...], corpus: str, seeds: int, epochs: int
) -> None:
    """Train every variant, at the best of three rates, and print a table."""
    go_offline()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        spec, data = open_corpus(find_data() / CORPORA[corpus][0], Path(name))
        for variant in only or VARIANTS:
            way = VARIANTS[variant]
            tried = find_rate(way, lambda rate, way=way: learn(way, rate, 1, epochs, spec, data))
            best = min(tried, key=lambda run: float(run["valid"]))
            more = [learn(way, best["rate"], n, epochs, spec, data) for n in range(2, seeds + 1)]
            row = join(variant, best, [best, *more], tried)
            rows.append(row)
            click.echo(describe(row))
            if json_file:
                body = {"machine": describe_machine(), "corpus": corpus, "rows": rows}
                json_file.write_text(json.dumps(body, indent=1) + "\n")


def find_rate(way: Variant, attempt: Callable[[float], Row]) -> list[Row]:
    """Runs at the variant's rates and beyond, until the best has a worse one on either side."""
    tried = [attempt(rate) for rate in way.rates]
    for _ in range(MORE_RATES):
        tried.sort(key=lambda run: float(run["rate"]))
        best = min(tried, key=lambda run: float(run["valid"]))
        if best not in (tried[0], tried[-1]):
            break
        tried.append(attempt(best["rate"] * (1 / 3 if best is tried[0] else 3)))
    return sorted(tried, key=lambda run: float(run["rate"]))


def open_corpus(folder: Path, work: Path) -> tuple[Any, Path]:
    """The embedded base, and the folder of a dataset made for it from the documents."""
    from appliance.bases.catalogue import find_bases
    from appliance.dataset.build import build_dataset
    from appliance.documents.read import read_corpus
    from appliance.documents.walk import scan_folder
    from appliance.events import ignore_event
    from appliance.recipe import DatasetRecipe, DocumentsRecipe
    from appliance.rundir import RunDir

    run = RunDir(work, ignore_event, lambda: False)
    spec = next(spec for spec in find_bases("embedded").specs)
    corpus = run.stage("corpus", read_corpus, scan_folder(folder), DocumentsRecipe())
    dataset = run.stage("dataset", build_dataset, corpus, spec, DatasetRecipe())
    return spec, work / Path(dataset.train.folder).parent


def learn(way: Variant, rate: float, seed: int, epochs: int, spec: Any, data: Path) -> Row:
    """One training; held-out losses are measured before and after, in no step."""
    import torch
    from planner_child import Setting, _make_plan

    from appliance.dataset.pack import PackedBatches
    from appliance.dataset.tokens import open_token_file
    from appliance.events import ignore_event
    from appliance.tuning import method, tune
    from appliance.tuning.loop import fit
    from appliance.tuning.schedule import Schedule
    from appliance.tuning.step import measure_loss

    setting = Setting(
        base="14 M", method=way.method, tokens=512, rank=way.rank, head=way.head,
        keeps_unpacked=way.method in method.QUANTIZED,
    )  # fmt: skip
    plan = _make_plan(setting, spec)
    torch.set_num_threads(1)
    with offered(way.peft):
        model = replace(tune.prepare_model(spec, plan, seed), noise=way.noise)
    if way.upper:
        freeze_lower(model.decoder)
    splits = [open_token_file(data / split) for split in ("train", "valid", "test")]
    batches, valid, test = (
        PackedBatches(
            split, pack_tokens=512, packs_per_step=1, seed=seed, lead_tokens=len(model.lead_ids)
        )
        for split in splits
    )
    steps = epochs * batches.steps_per_epoch
    schedule = Schedule(
        num_steps=steps, peak_lr=rate, warmup_steps=max(1, steps // 20), decay_steps=steps,
        checkpoint_seconds=1e9, **way.schedule,
    )  # fmt: skip
    start = measure_loss(model, test.read_all())
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        counters = fit(
            model,
            batches,
            schedule,
            folder=Path(folder),
            on_event=ignore_event,
            should_stop=lambda: False,
        )
    spent = time.process_time() - began
    return {
        "rate": rate,
        "seed": seed,
        "start": start,
        "valid": measure_loss(model, valid.read_all()),
        "test": measure_loss(model, test.read_all()),
        "seconds": spent,
        "tokens": counters.num_tokens,
        "labels": counters.num_labels,
        "trained": sum(p.numel() for p in model.module.parameters() if p.requires_grad),
    }


@contextmanager
def offered(options: Row) -> Iterator[None]:
    """PEFT's configuration with options that the program does not offer."""
    from appliance.tuning.methods import lora

    plain: Any = lora.LoraConfig
    lora.LoraConfig = lambda **own: plain(**(own | options))  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        lora.LoraConfig = plain  # type: ignore[misc]


def freeze_lower(decoder: Any) -> None:
    """Let only the layers learn that a bottleneck would have."""
    from appliance.tuning.methods.adapter import TOP_SHARE

    count = len(decoder.layers)
    for layer in decoder.layers[: count - max(1, round(TOP_SHARE * count))]:
        layer.requires_grad_(False)


def join(name: str, best: Row, runs: list[Row], tried: list[Row]) -> Row:
    """The figures of a variant over its seeds."""
    losses = [run["test"] for run in runs]
    return {
        "variant": name,
        "trained": best["trained"],
        "rate": best["rate"],
        "is_edge": best in (tried[0], tried[-1]),
        "start": best["start"],
        "test": statistics.mean(losses),
        "spread": max(losses) - min(losses),
        "seconds": statistics.median(run["seconds"] for run in runs),
        "tokens": best["tokens"],
        "labels": best["labels"],
        "tried": {str(run["rate"]): run["valid"] for run in tried},
        "losses": losses,
    }


def describe(row: Row) -> str:
    """A row of the table."""
    edge = " (edge)" if row["is_edge"] else ""
    return (
        f"| {row['variant']} | {row['trained'] / 1e3:,.0f} k | {row['rate']:.1e}{edge} "
        f"| {row['start']:.3f} | {row['test']:.3f} ± {row['spread'] / 2:.3f} "
        f"| {row['seconds']:.1f} |"
    )


if __name__ == "__main__":
    main()
