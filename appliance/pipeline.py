"""The straight line from a folder of documents to a verified bundle.

Nothing is decided here: each stage is a function of values, and its receipt says that it is done.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from appliance import describe
from appliance.bases.catalogue import find_bases
from appliance.bundle.pack import pack
from appliance.dataset.build import build_dataset
from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.errors import GateError
from appliance.evaluation.evaluate import evaluate
from appliance.events import Line
from appliance.export.merge import merge
from appliance.export.onnx import export_onnx
from appliance.export.prove import prove
from appliance.hardware.probe import probe
from appliance.hardware.rates import identify_machine, load_rates
from appliance.jobs import TuneRequest
from appliance.planning.calibration import load_notes, locate_notes, record_run
from appliance.planning.planner import choose_base, make_plan, recheck_plan
from appliance.planning.terms import read_terms
from appliance.rundir import RunDir
from appliance.tuning.tune import tune as tune_model
from appliance.values import (
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    EvalReport,
    ExportChoice,
    ProvenModel,
    TrainPlan,
    TunedModel,
    TuneResult,
)


def tune(request: TuneRequest, run: RunDir) -> TuneResult:
    """Turn a folder of documents into a verified bundle.

    Args:
        request: folder, base and recipe.
        run: where stages write; finished ones are not done again.

    Returns:
        What was made, with every figure that was measured.

    Raises:
        ApplianceError: from the stage that failed; a failed gate leaves no bundle.
    """
    recipe = request.recipe

    def say(label: str, text: str, detail: str = "") -> None:
        run.on_event(Line(label=label, text=text, detail=detail))

    hardware = probe(run.path)
    notes_file = locate_notes(identify_machine())
    notes = load_notes(notes_file)
    terms = read_terms(recipe.budget, load_rates(), notes, request.by_person)
    say("Hardware", describe.describe_hardware(hardware))
    folder = scan_folder(Path(request.documents))
    corpus = run.stage("corpus", read_corpus, folder, recipe.documents)
    say("Documents", describe.describe_corpus(corpus))
    bases = find_bases(request.base)
    choice = run.stage("base", choose_base, hardware, bases, corpus, recipe.tune, terms)
    spec = choice.spec
    dataset = run.stage("dataset", build_dataset, corpus, spec, recipe.dataset)
    say("Dataset", describe.describe_dataset(dataset))
    plan = run.stage("plan", make_plan, hardware, choice, dataset, recipe.tune, terms)
    is_trained = run.is_done("tune")
    if not is_trained:
        recheck_plan(plan, hardware)
    say("Plan", describe.describe_plan(plan), f"why: {plan.reason}")
    tuned = run.stage("tune", tune_model, plan, spec, dataset, recipe.tune)
    if not is_trained:
        with contextlib.suppress(OSError):  # the next plan is less exact, and nothing else
            record_run(notes_file, plan, tuned)
    say("Tune", describe.describe_tuned(tuned))
    report = run.stage("evaluate", evaluate, plan, spec, tuned, dataset, recipe.evaluate)
    say("Evaluate", describe.describe_report(report))
    _require_improvement(report, recipe.evaluate.require_improvement)
    merged = run.stage("merge", merge, plan, spec, tuned, dataset)
    say("Merge", describe.describe_merge(merged))
    reference = run.stage("reference", export_onnx, merged, ExportChoice(precision="fp32"))
    proven = run.stage(
        "parity", prove, plan, spec, tuned, merged, reference, dataset, recipe.export
    )
    say("Export", describe.describe_parity(proven.parity, proven.onnx.num_bytes))
    bundle = run.stage(
        "bundle", pack, proven.onnx, spec, plan, tuned, report, proven.parity, corpus, dataset
    )
    say("Bundle", describe.describe_bundle(str(run.path / bundle.folder), bundle))
    say("Next", f'appliance chat {run.path} -m "a question about your documents"')
    return _collect(run, plan, corpus, spec, dataset, tuned, report, proven, bundle)


def _require_improvement(report: EvalReport, is_required: bool) -> None:
    if is_required and report.improvement <= 0:
        raise GateError(
            "the tuned model is not better than the base",
            why=f"loss on held-out documents {report.base.loss:.4f} → {report.tuned.loss:.4f}",
            fix="add documents of the same kind, or search them instead of tuning; "
            "--set evaluate.require_improvement=false packs the model all the same",
        )


def _collect(
    run: RunDir,
    plan: TrainPlan,
    corpus: Corpus,
    spec: BaseSpec,
    dataset: Dataset,
    tuned: TunedModel,
    report: EvalReport,
    proven: ProvenModel,
    bundle: Bundle,
) -> TuneResult:
    rungs = proven.parity.rungs
    shipped = rungs[-1]
    seconds = run.seconds | {"export": proven.build_seconds}
    seconds["parity"] -= proven.build_seconds
    return TuneResult(
        run=str(run.path),
        bundle=str(run.path / bundle.folder),
        manifest_sha256=bundle.manifest_sha256,
        base=spec.name,
        method=plan.method,
        lr=tuned.lr,
        base_loss=report.base.loss,
        tuned_loss=report.tuned.loss,
        exported_loss=report.tuned.loss + shipped.loss - rungs[0].loss,
        gain_kept=shipped.gain_kept,
        evaluation=report,
        parity=rungs,
        precision=proven.parity.shipped,
        planned_memory_bytes=tuned.planned_memory_bytes,
        peak_memory_bytes=tuned.peak_memory_bytes,
        tokens_per_second=tuned.tokens_per_second,
        seconds=seconds,
        planned_seconds=plan.seconds,
        files={
            "found": corpus.num_files,
            "used": corpus.num_used,
            "duplicate": corpus.num_duplicates,
            "skipped": corpus.num_skipped,
        },
        tokens={
            "train": dataset.train.num_tokens,
            "supervised": dataset.train.num_labels,
            "valid": dataset.valid.num_tokens,
            "test": dataset.test.num_tokens,
            "dropped": dataset.num_tokens_dropped,
            "repeated": dataset.num_tokens_repeated,
        },
    )
