"""What kinds of pairs do to the model, at equal budget.

    scripts/bench pairs --json FILE --only sample --only clef-handbook

Every variant trains the embedded base for the same number of steps at the same rate, on the same
documents; what differs is which pairs are made from them. All are scored on the same held-out
examples: those that all kinds together make of the test documents.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from main_job import CORPORA, find_data  # noqa: E402

from appliance.offline import go_offline  # noqa: E402

OLD = ("asked", "headings")
NEW = ("asked", "steps", "headings", "definitions", "rows")
ALL = (*NEW, "cloze")
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"pairs": "none"},
    "old": {"kinds": OLD},
    "new": {"kinds": NEW},
    "new+cloze": {"kinds": ALL},
    "new+refusals": {"kinds": NEW, "refusal_share": 0.05},
}
JUDGE: dict[str, Any] = {"kinds": ALL, "refusal_share": 0.1}
"""How the held-out examples are made, whatever a variant trains on."""

RATE = 9e-3
"""Learning rate of all variants: what the probe chooses for the sample."""


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures.")
@click.option("--only", multiple=True, type=click.Choice(list(CORPORA)), help="Corpora to run.")
@click.option("--variant", "variants", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option("--seed", "seeds", multiple=True, type=int, default=(1,), help="Of training.")
@click.option("--threads", default=1, help="Processor cores.")
@click.option(
    "--steps", default=0, help="Updates of every variant; 0: as the plan of the old pairs."
)
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "build" / "bench-pairs")
def main(
    json_file: Path | None,
    only: tuple[str, ...],
    variants: tuple[str, ...],
    seeds: tuple[int, ...],
    threads: int,
    steps: int,
    work: Path,
) -> None:
    """Train every variant on every corpus and print its losses by kind of example."""
    go_offline()
    rows = []
    for name in only or CORPORA:
        for seed in seeds:
            for variant in variants or VARIANTS:
                folder = find_data() / CORPORA[name][0]
                row = run_variant(folder, variant, seed, threads, steps, work)
                rows.append({"corpus": name, **row})
                click.echo(json.dumps(rows[-1]))
                if json_file:
                    json_file.write_text(json.dumps(rows, indent=1) + "\n")


def run_variant(
    folder: Path, variant: str, seed: int, threads: int, steps: int, work: Path
) -> dict[str, Any]:
    """Build, train and score one variant."""
    from appliance.bases.catalogue import find_bases
    from appliance.dataset.build import build_dataset
    from appliance.documents.read import read_corpus
    from appliance.documents.walk import scan_folder
    from appliance.events import ignore_event
    from appliance.hardware.probe import probe
    from appliance.hardware.rates import load_rates
    from appliance.planning.planner import choose_base, make_plan
    from appliance.planning.terms import read_terms
    from appliance.recipe import BudgetRecipe, DatasetRecipe, DocumentsRecipe, TuneRecipe
    from appliance.rundir import RunDir
    from appliance.tuning.method import load_tuned
    from appliance.tuning.tune import tune
    from appliance.values import RunNotes

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run = RunDir(work, ignore_event, lambda: False)
    hardware = probe(work)
    terms = read_terms(BudgetRecipe(), load_rates(), RunNotes(), ())
    recipe = TuneRecipe(lr=RATE, seed=seed, threads=threads)
    corpus = run.stage("corpus", read_corpus, scan_folder(folder), DocumentsRecipe())
    choice = choose_base(hardware, find_bases("embedded"), corpus, recipe, terms)
    build = lambda stage, **keys: run.stage(  # noqa: E731
        stage, build_dataset, corpus, choice.spec, DatasetRecipe(**keys)
    )
    old, judge = build("old", kinds=OLD), build("judge", **JUDGE)
    own = build("own", **VARIANTS[variant])
    own = own.model_copy(update={"valid": judge.valid, "longest_example": 512})
    budget = make_plan(hardware, choice, old, recipe, terms)
    same = {"num_steps": steps or budget.num_steps, "packs_per_step": budget.packs_per_step}
    plan = make_plan(hardware, choice, own, recipe, terms).model_copy(update=same)
    began = time.monotonic()
    tuned = run.stage("tune", tune, plan, choice.spec, own, recipe)
    model = load_tuned(choice.spec, plan, work / tuned.folder)
    return {
        "variant": variant,
        "seed": seed,
        "steps": plan.num_steps,
        "seconds": round(time.monotonic() - began),
        "train_tokens": own.train.num_tokens,
        "train_kinds": own.train.kinds,
        "losses": score_kinds(model, work / judge.test.folder, plan.sequence_length),
    }


def score_kinds(model: Any, split: Path, pack_tokens: int) -> dict[str, float]:
    """Nats per label over the held-out examples of each kind."""
    from appliance.dataset.origins import read_origins
    from appliance.dataset.tokens import open_token_file
    from appliance.evaluation.scores import score_examples

    kinds = [origin.kind for origin in read_origins(split)]
    scores = score_examples(model, open_token_file(split), list(range(len(kinds))), pack_tokens)
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for kind, nats, labels in zip(kinds, scores.nats_E, scores.labels_E, strict=True):
        names = {kind} | ({"real"} if kind in ("asked", "conversation") else set())
        for name in names:
            sums[name][0] += float(nats)
            sums[name][1] += float(labels)
    return {name: round(nats / labels, 4) for name, (nats, labels) in sorted(sums.items())}


if __name__ == "__main__":
    main()
