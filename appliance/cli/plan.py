"""`appliance plan`: what `tune` would do with a folder, how long it takes, and why."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.options import job_arguments

if TYPE_CHECKING:
    from appliance.dataset.show import ShownExample
    from appliance.recipe import Recipe
    from appliance.values import Corpus, Dataset, FileVerdict, Hardware, PlanTerms, TrainPlan

EXAMPLE = """
\b
Example:
  appliance plan ./company_docs
  appliance plan ./company_docs --base ./models/Qwen3-0.6B --set tune.rank=8
  appliance plan ./company_docs --show 5
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
    examples: tuple[ShownExample, ...] = ()


@click.command(epilog=EXAMPLE)
@job_arguments
@click.option(
    "--show", default=0, metavar="N", help="Print N training examples, with what counts marked."
)
@click.option(
    "--probe",
    is_flag=True,
    help="Train two tiny models first, and keep what they took beyond the formulas.",
)
def plan(
    documents: Path,
    base: str | None,
    recipe: Path | None,
    settings: tuple[str, ...],
    runs: Path | None,
    as_json: bool,
    show: int,
    probe: bool,
) -> None:
    """Tell what `tune` would do with DOCUMENTS, how long it takes, and why.

    Reads the documents, trains nothing, and leaves nothing behind.
    """
    from appliance.cli.output import print_json
    from appliance.cli.plan_text import show_outlook
    from appliance.recipe import list_keys, load_recipe

    chosen = load_recipe(recipe, settings)
    if probe:
        from appliance.cli.probe_device import probe_device

        probe_device(runs or Path("runs"))
    by_person = list_keys(settings, base)
    outlook = make_outlook(documents, base, chosen, runs or Path("runs"), by_person, show=show)
    if as_json:
        print_json(_collect(outlook))
    else:
        show_outlook(outlook)


def make_outlook(
    documents: Path,
    base: str | None,
    recipe: Recipe,
    runs: Path,
    by_person: tuple[str, ...] = (),
    *,
    show: int = 0,
) -> Outlook:
    """Read the documents, make the examples and plan, in a folder that is removed afterwards.

    Args:
        documents: folder of them.
        base: name or folder of a base; None for the planner's choice.
        recipe: what is decided already.
        runs: where runs would be kept; its disk is measured.
        by_person: keys of the recipe that came from the command line, and "base".
        show: training examples to keep for looking at them.

    Raises:
        ApplianceError: from the documents, the base, the recipe or the machine.
    """
    from appliance.bases.catalogue import find_bases
    from appliance.dataset.build import build_dataset
    from appliance.documents.read import read_corpus
    from appliance.documents.walk import scan_folder
    from appliance.events import ignore_event
    from appliance.hardware.probe import probe
    from appliance.hardware.rates import identify_machine, load_rates
    from appliance.planning.asking import estimate_asking
    from appliance.planning.calibration import load_notes, locate_notes
    from appliance.planning.planner import choose_base, make_plan
    from appliance.planning.terms import read_terms
    from appliance.rundir import RunDir

    bases = find_bases(base)
    folder = scan_folder(documents)
    hardware = probe(runs)
    notes = load_notes(locate_notes(identify_machine()))
    terms = read_terms(recipe.budget, load_rates(), notes, by_person)
    with _make_temporary() as path, contextlib.closing(RunDir(path, ignore_event, bool)) as run:
        corpus = run.stage("corpus", read_corpus, folder, recipe.documents)
        choice = choose_base(hardware, bases, corpus, recipe.tune, terms)
        dataset = run.stage("dataset", build_dataset, corpus, choice.spec, recipe.dataset)
        made = make_plan(hardware, choice, dataset, recipe.tune, terms)
        if recipe.dataset.pairs_by_base == "yes":
            seconds = made.seconds | {"questions": estimate_asking(made, dataset)}
            made = made.model_copy(update={"seconds": seconds})
        if base is not None:
            made = _compare_base(made, hardware, corpus, recipe, terms)
        return Outlook(
            hardware=hardware,
            corpus=corpus,
            skipped=_read_skipped(path / corpus.ledger_file),
            dataset=dataset,
            plan=made,
            examples=_read_examples(path / dataset.train.folder, choice.spec.folder, show),
        )


def _read_examples(split: Path, base: str, number: int) -> tuple[ShownExample, ...]:
    from appliance.dataset.show import show_examples
    from appliance.dataset.tokenizer import load_tokenizer

    if number <= 0:
        return ()
    return tuple(show_examples(split, load_tokenizer(Path(base)), number))


def _compare_base(
    made: TrainPlan, hardware: Hardware, corpus: Corpus, recipe: Recipe, terms: PlanTerms
) -> TrainPlan:
    """The plan of a base that a person named, with what the planner would have taken."""
    from appliance.bases.catalogue import find_bases
    from appliance.errors import ApplianceError
    from appliance.planning.planner import choose_base

    try:
        other = choose_base(hardware, find_bases(), corpus, recipe.tune, terms).spec.name
    except ApplianceError as exc:
        other = f"none ({exc.what})"
    told = "as the planner would" if other == made.base else f"the planner would take {other}"
    decisions = tuple(
        row.model_copy(update={"reason": f"{row.reason}; {told}"}) if row.name == "base" else row
        for row in made.decisions
    )
    return made.model_copy(update={"decisions": decisions})


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
    body["tokens_per_step"] = made.packs_per_step * made.sequence_length
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
    if outlook.examples:
        body["examples"] = [asdict(example) for example in outlook.examples]
    return body
