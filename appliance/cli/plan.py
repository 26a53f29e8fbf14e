"""`appliance plan`: what `tune` would do with a folder, how long it takes, and why."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.options import job_arguments

if TYPE_CHECKING:
    from appliance.recipe import Recipe
    from appliance.values import Corpus, Dataset, FileVerdict, Hardware, TrainPlan

EXAMPLE = """
\b
Example:
  appliance plan ./company_docs
  appliance plan ./company_docs --base ./models/Qwen3-0.6B --set tune.rank=8
  appliance plan ./company_docs --json | jq .memory
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """All that a plan is made from, and the plan."""

    hardware: Hardware
    corpus: Corpus
    skipped: tuple[FileVerdict, ...]
    dataset: Dataset
    plan: TrainPlan


@click.command(epilog=EXAMPLE)
@job_arguments
def plan(
    documents: Path,
    base: str | None,
    recipe: Path | None,
    settings: tuple[str, ...],
    runs: Path | None,
    as_json: bool,
) -> None:
    """Tell what `tune` would do with DOCUMENTS, how long it takes, and why.

    Reads the documents, trains nothing, and leaves nothing behind.
    """
    from appliance.cli.output import print_json
    from appliance.recipe import load_recipe

    outlook = make_outlook(documents, base, load_recipe(recipe, settings), runs or Path("runs"))
    if as_json:
        print_json(_collect(outlook))
    else:
        _show(outlook)


def make_outlook(documents: Path, base: str | None, recipe: Recipe, runs: Path) -> Outlook:
    """Read the documents, make the examples and plan, in a folder that is removed afterwards.

    Raises:
        ApplianceError: from the documents, the base, the recipe or the machine.
    """
    from appliance.bases.catalogue import find_bases
    from appliance.dataset.build import build_dataset
    from appliance.documents.read import read_corpus
    from appliance.documents.walk import scan_folder
    from appliance.events import ignore_event
    from appliance.hardware.probe import probe
    from appliance.planning.planner import choose_base, make_plan
    from appliance.rundir import RunDir

    bases = find_bases(base)
    folder = scan_folder(documents)
    hardware = probe(runs)
    with _make_temporary() as path, contextlib.closing(RunDir(path, ignore_event, bool)) as run:
        corpus = run.stage("corpus", read_corpus, folder, recipe.documents)
        choice = choose_base(hardware, bases, corpus, recipe.tune)
        dataset = run.stage("dataset", build_dataset, corpus, choice.spec, recipe.dataset)
        return Outlook(
            hardware=hardware,
            corpus=corpus,
            skipped=_read_skipped(path / corpus.ledger_file),
            dataset=dataset,
            plan=make_plan(hardware, choice, dataset, recipe.tune),
        )


@contextlib.contextmanager
def _make_temporary() -> Iterator[Path]:
    """A folder that only its owner can read (private text lies in it), removed in any case."""
    path = Path(tempfile.mkdtemp(prefix="appliance-plan-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _read_skipped(ledger: Path) -> tuple[FileVerdict, ...]:
    from appliance.values import FileVerdict

    with ledger.open(encoding="utf-8") as lines:
        verdicts = [FileVerdict.model_validate_json(line) for line in lines]
    return tuple(verdict for verdict in verdicts if verdict.verdict != "used")


def _collect(outlook: Outlook) -> dict[str, Any]:
    made, corpus, dataset = outlook.plan, outlook.corpus, outlook.dataset
    body = made.model_dump(mode="json")
    body["memory"]["total_bytes"] = made.memory.total_bytes
    body["seconds"]["total"] = round(sum(made.seconds.values()), 1)
    body["files"] = {
        "found": corpus.num_files,
        "used": corpus.num_used,
        "duplicate": corpus.num_duplicates,
        "skipped": corpus.num_skipped,
    }
    body["skipped_files"] = [
        {"path": row.path, "verdict": row.verdict, "reason": row.reason, "fix": row.fix}
        for row in outlook.skipped
    ]
    body["tokens"] = {
        "train": dataset.train.num_tokens,
        "supervised": dataset.train.num_labels,
        "valid": dataset.valid.num_tokens,
        "test": dataset.test.num_tokens,
        "dropped": dataset.num_tokens_dropped,
        "repeated": dataset.num_tokens_repeated,
    }
    return body


def _show(outlook: Outlook) -> None:
    from appliance import describe
    from appliance.cli.output import print_row
    from appliance.units import format_bytes, format_seconds

    made = outlook.plan
    skipped = [f"{row.path}: {row.reason}" for row in outlook.skipped]
    print_row("Hardware", describe.describe_hardware(outlook.hardware))
    print_row("Documents", describe.describe_corpus(outlook.corpus), *skipped)
    print_row("Dataset", describe.describe_dataset(outlook.dataset))
    print_row("Plan", describe.describe_plan(made), f"why: {made.reason}")
    terms = (
        f"{name.removesuffix('_bytes')} {format_bytes(value)}"
        for name, value in made.memory.model_dump().items()
        if value
    )
    print_row("Memory", f"{format_bytes(made.memory.total_bytes)} = " + " + ".join(terms))
    stages = (f"{name} {format_seconds(seconds)}" for name, seconds in made.seconds.items())
    print_row("Time", " · ".join(stages))
    print_row("Disk", f"{format_bytes(made.disk_bytes)} for the run")
    for row in made.rejected:
        print_row("Rejected", f"{row.choice}: {row.reason}")
