"""The straight line from a folder of documents to a verified bundle.

Nothing is decided here: each stage is a function of values, and its receipt says that it is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance import describe
from appliance.asking.ask import ask_base
from appliance.bases.catalogue import find_bases
from appliance.bases.store import EMBEDDED
from appliance.bundle.keys import load_signing_key, locate_keys
from appliance.bundle.pack import pack
from appliance.dataset.build import build_with_pairs
from appliance.dataset.text import build_text_dataset
from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.errors import GateError, RecipeError
from appliance.evaluation.assess import collect_assessment, set_effort
from appliance.evaluation.evaluate import evaluate
from appliance.evaluation.leaks import audit
from appliance.evaluation.text import evaluate_text
from appliance.evaluation.verdict import (
    Evidence,
    Insistence,
    decide,
    insist,
    is_refused,
    reach_verdict,
)
from appliance.events import Line
from appliance.export.merge import merge
from appliance.export.onnx import export_onnx
from appliance.export.prove import prove
from appliance.export.take import take_as_base
from appliance.hardware.probe import probe
from appliance.hardware.rates import identify_machine, load_rates
from appliance.jobs import JobKind, JobRequest
from appliance.planning.calibration import load_notes, locate_notes, record_run
from appliance.planning.planner import choose_base, make_plan, recheck_plan
from appliance.planning.processes import count_again
from appliance.planning.terms import read_terms
from appliance.planning.worth import judge_text
from appliance.recipe import Recipe
from appliance.reports.origin import keep_origin
from appliance.rundir import RunDir
from appliance.tuning.new_base import make_base
from appliance.tuning.new_terms import add_terms
from appliance.tuning.pretrain import pretrain as pretrain_model
from appliance.tuning.trial import tune_briefly
from appliance.tuning.tune import tune as tune_model
from appliance.values import (
    Assessment,
    BaseChoice,
    BaseChoices,
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    EvalReport,
    ExportChoice,
    GeneralSource,
    Hardware,
    LeakReport,
    NewTerms,
    PlanTerms,
    ProvenModel,
    TrainPlan,
    TunedModel,
    TuneResult,
    Verdict,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ground:
    """What every line starts from.

    Attributes:
        terms: what bounds its plans.
        notes_file: where the measured figures of a run are noted for the plans that come.
    """

    hardware: Hardware
    corpus: Corpus
    terms: PlanTerms
    notes_file: Path


def tune(request: JobRequest, run: RunDir) -> TuneResult:
    """Turn a folder of documents into a verified bundle.

    Args:
        request: folder, base and recipe.
        run: where stages write; finished ones are not done again.

    Returns:
        What was made, with every figure that was measured.

    Raises:
        ApplianceError: from the stage that failed; a failed gate leaves no bundle.
    """
    ground = _read(request, run)
    bases = find_bases(request.base)
    choice = run.stage(
        "base",
        choose_base,
        ground.hardware,
        bases,
        ground.corpus,
        request.recipe.tune,
        ground.terms,
    )
    return _tune_base(request, run, ground, choice)


def pretrain(request: JobRequest, run: RunDir) -> TuneResult:
    """Let a base read a folder as plain text; then pack it, or tune it on the same folder.

    Args:
        request: folder, base and recipe, which says how it goes on.
        run: where stages write; finished ones are not done again.

    Returns:
        What was made, with every figure that was measured.

    Raises:
        ApplianceError: from the stage that failed; a failed gate leaves no bundle.
    """
    recipe = request.recipe
    ground = _read(request, run)
    hardware, corpus, terms = ground.hardware, ground.corpus, ground.terms
    bases = _offer_bases(request, run, corpus)
    choice = run.stage("base", choose_base, hardware, bases, corpus, recipe.pretrain, terms)
    grown = NewTerms(choice=choice, origin=choice.spec)
    if recipe.pretrain.new_terms:
        grown = run.stage("new-terms", add_terms, corpus, choice, recipe.dataset, recipe.pretrain)
        _say(run, "New terms", describe.describe_new_terms(grown))
    choice = grown.choice
    spec, general = choice.spec, _read_general(recipe, run)
    text = run.stage(
        "text", build_text_dataset, corpus, spec, general, recipe.dataset, recipe.pretrain
    )
    dataset = text.dataset
    _say(run, "Text", describe.describe_text(text, recipe.pretrain.replay_share))
    plan = run.stage(
        "pretrain-plan", make_plan, hardware, choice, text.as_read, recipe.pretrain, terms
    )
    plan = count_again(plan, hardware, recipe.pretrain)
    is_new = not run.is_done("pretrain")
    if is_new:
        recheck_plan(plan, hardware)
    _say(run, "Plan", describe.describe_plan(plan), f"why: {plan.reason}")
    _say(run, "Worth it?", *judge_text(text, plan, spec, recipe.pretrain))
    tuned = run.stage("pretrain", pretrain_model, plan, spec, text, recipe.pretrain)
    if is_new:
        _remember(ground, plan, tuned)
    _say(run, "Pretrain", describe.describe_tuned(tuned))
    report = run.stage(
        "judge", evaluate_text, plan, spec, tuned, text, grown, recipe.evaluate, recipe.pretrain
    )
    _say(run, "Evaluate", describe.describe_report(report), *describe.describe_kept(report))
    _refuse_early(request, run, Evidence(report=report))
    if recipe.pretrain.then == "nothing":
        return _ship(request, run, plan, spec, tuned, report, corpus, dataset)
    merged = run.stage("pretrained", merge, plan, spec, tuned, dataset)
    _say(run, "Merge", describe.describe_merge(merged))
    choice = run.stage("pretrained-base", take_as_base, merged, choice)
    return _tune_base(request, run, ground, choice, report)


def assess(request: JobRequest, run: RunDir) -> Assessment:
    """Find out whether a folder should be tuned on at all; no bundle is made.

    Args:
        request: folder, base and recipe.
        run: where stages write; finished ones are not done again.

    Returns:
        What is recommended, with every figure behind it.

    Raises:
        ApplianceError: from the stage that failed.
    """
    recipe = request.recipe
    ground = _read(request, run)
    hardware, corpus, terms = ground.hardware, ground.corpus, ground.terms
    bases = find_bases(request.base)
    choice = run.stage("base", choose_base, hardware, bases, corpus, recipe.tune, terms)
    spec = choice.spec
    dataset = _build_dataset(run, corpus, spec, recipe)
    plan = run.stage("plan", make_plan, hardware, choice, dataset, recipe.tune, terms)
    plan = count_again(plan, hardware, recipe.tune)
    if not run.is_done("trial"):
        recheck_plan(plan, hardware)
    _say(run, "Plan", describe.describe_plan(plan))
    tuned = run.stage("trial", tune_briefly, plan, spec, dataset, recipe.tune, recipe.assess)
    _say(run, "Trial", describe.describe_tuned(tuned))
    thorough = set_effort(recipe.evaluate, recipe.assess)
    report = run.stage("ways", evaluate, plan, spec, tuned, dataset, corpus, thorough, recipe.tune)
    _say(run, "Evaluate", describe.describe_report(report))
    return collect_assessment(run.path, run.seconds, dataset, plan, tuned, report)


LINES: dict[JobKind, Callable[[JobRequest, RunDir], TuneResult | Assessment]] = {
    "tune": tune,
    "pretrain": pretrain,
    "assess": assess,
}
"""Which function does a job of a kind."""


def _say(run: RunDir, label: str, text: str, *details: str) -> None:
    run.on_event(Line(label=label, text=text, detail="\n".join(details)))


def _read(request: JobRequest, run: RunDir) -> _Ground:
    load_signing_key(locate_keys())  # one that cannot be used is told now, not after the training
    hardware = probe(run.path)
    keep_origin(run.path, request.kind, request.recipe, request.by_person, hardware)
    notes_file = locate_notes(identify_machine())
    notes = load_notes(notes_file)
    terms = read_terms(request.recipe.budget, load_rates(), notes, request.by_person)
    _say(run, "Hardware", describe.describe_hardware(hardware))
    folder = scan_folder(Path(request.documents))
    corpus = run.stage("corpus", read_corpus, folder, request.recipe.documents)
    _say(run, "Documents", describe.describe_corpus(corpus))
    return _Ground(hardware=hardware, corpus=corpus, terms=terms, notes_file=notes_file)


def _remember(ground: _Ground, plan: TrainPlan, tuned: TunedModel) -> None:
    """Note what was measured; where that fails, the next plan is less exact, and nothing else."""
    with contextlib.suppress(OSError):
        record_run(ground.notes_file, plan, tuned)


def _offer_bases(request: JobRequest, run: RunDir, corpus: Corpus) -> BaseChoices:
    """Bases that can be pretrained: those that are there, or a new one made from the corpus.

    Raises:
        RecipeError: the person named a base, and the recipe makes one.
    """
    recipe = request.recipe
    if recipe.pretrain.start == "base":
        return find_bases(request.base)
    if request.base is not None:
        raise RecipeError(
            "a base was named, and the recipe makes one from nothing",
            why=f"--base {request.base} and pretrain.start=nothing exclude each other",
            fix="leave --base out, or --set pretrain.start=base",
        )
    (pattern,) = find_bases(EMBEDDED).specs
    made = run.stage(
        "new-base", make_base, corpus, pattern, recipe.dataset, recipe.pretrain, recipe.shape
    )
    _say(run, "New base", describe.describe_new_base(made.specs[0]))
    return made


def _read_general(recipe: Recipe, run: RunDir) -> GeneralSource:
    """Where general text comes from: the folder that the recipe names, else the package."""
    if not recipe.pretrain.replay:
        return GeneralSource()
    folder = scan_folder(Path(recipe.pretrain.replay))
    corpus = run.stage("replay", read_corpus, folder, recipe.documents)
    _say(run, "General", describe.describe_corpus(corpus))
    return GeneralSource(documents_file=corpus.documents_file, sha256=corpus.sha256)


def _build_dataset(run: RunDir, corpus: Corpus, spec: BaseSpec, recipe: Recipe) -> Dataset:
    made = run.stage("questions", ask_base, corpus, spec, recipe.dataset)
    if made.file:
        _say(run, "Questions", describe.describe_made(made))
    dataset = run.stage("dataset", build_with_pairs, corpus, spec, recipe.dataset, made)
    _say(run, "Dataset", describe.describe_dataset(dataset))
    return dataset


def _tune_base(
    request: JobRequest,
    run: RunDir,
    ground: _Ground,
    choice: BaseChoice,
    pretraining: EvalReport | None = None,
) -> TuneResult:
    recipe, spec, hardware, corpus = request.recipe, choice.spec, ground.hardware, ground.corpus
    dataset = _build_dataset(run, corpus, spec, recipe)
    plan = run.stage("plan", make_plan, hardware, choice, dataset, recipe.tune, ground.terms)
    plan = count_again(plan, hardware, recipe.tune)
    is_new = not run.is_done("tune")
    if is_new:
        recheck_plan(plan, hardware)
    _say(run, "Plan", describe.describe_plan(plan), f"why: {plan.reason}")
    tuned = run.stage("tune", tune_model, plan, spec, dataset, recipe.tune)
    if is_new:
        _remember(ground, plan, tuned)
    _say(run, "Tune", describe.describe_tuned(tuned))
    report = run.stage(
        "evaluate", evaluate, plan, spec, tuned, dataset, corpus, recipe.evaluate, recipe.tune
    )
    _say(run, "Evaluate", describe.describe_report(report), *describe.describe_kept(report))
    leaks = run.stage("audit", audit, plan, spec, tuned, dataset, recipe.dataset, recipe.audit)
    _say(run, "Leaks", describe.describe_leaks(leaks), *describe.list_leaks(leaks))
    _refuse_early(request, run, Evidence(report=report, leaks=leaks, pretraining=pretraining))
    return _ship(request, run, plan, spec, tuned, report, corpus, dataset, pretraining, leaks)


def _ship(
    request: JobRequest,
    run: RunDir,
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    report: EvalReport,
    corpus: Corpus,
    dataset: Dataset,
    pretraining: EvalReport | None = None,
    leaks: LeakReport | None = None,
) -> TuneResult:
    """Merge, export, prove, judge and pack."""
    merged = run.stage("merge", merge, plan, spec, tuned, dataset)
    _say(run, "Merge", describe.describe_merge(merged))
    reference = run.stage("reference", export_onnx, merged, ExportChoice(precision="fp32"))
    proven = run.stage(
        "parity", prove, plan, spec, tuned, merged, reference, dataset, request.recipe.export
    )
    _say(run, "Export", describe.describe_parity(proven.parity, proven.onnx.num_bytes))
    evidence = Evidence(report=report, parity=proven.parity, leaks=leaks, pretraining=pretraining)
    verdict = run.stage("verdict", decide, evidence, _read_insistence(request))
    _say(run, "Verdict", *describe.describe_verdict(verdict))
    _heed(verdict)
    bundle = run.stage(
        "bundle", pack, proven.onnx, spec, plan, tuned, report, proven.parity, corpus, dataset,
        verdict, request.recipe,
    )  # fmt: skip
    _say(run, "Bundle", describe.describe_bundle(str(run.path / bundle.folder), bundle))
    if verdict.decision == "deploy with search" and request.recipe.bundle.search == "no":
        _say(run, "Next", describe.SEARCH_HINT)
    _say(run, "Next", f'appliance chat {run.path} -m "a question about your documents"')
    result = _collect(run, plan, corpus, spec, dataset, tuned, report, proven, bundle)
    return result.model_copy(
        update={"pretraining": pretraining, "leaks": leaks, "verdict": verdict}
    )


def _read_insistence(request: JobRequest) -> Insistence:
    is_gain_needed = request.recipe.evaluate.require_improvement
    return Insistence(on_anything=request.force, on_no_gain=not is_gain_needed)


def _refuse_early(request: JobRequest, run: RunDir, evidence: Evidence) -> None:
    """Leave before hours of merging and exporting where the verdict cannot be but no."""
    insistence = _read_insistence(request)
    if is_refused(insist(reach_verdict(evidence), insistence)):
        verdict = run.stage("verdict", decide, evidence, insistence)
        _say(run, "Verdict", *describe.describe_verdict(verdict))
        _heed(verdict)


def _heed(verdict: Verdict) -> None:
    """Stop where a model is not to be deployed, and nobody insists.

    Raises:
        GateError: so it is.
    """
    if not is_refused(verdict):
        return
    raise GateError(
        "the verdict is against this model: no bundle is made",
        why=verdict.sentence.removeprefix(f"{verdict.decision}: "),
        fix="add documents of the same kind, or search them instead of tuning; the same "
        "command with --force packs it all the same, and the bundle says so",
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
