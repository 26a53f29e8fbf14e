"""A bundle of the embedded base, packed once for all tests that need one."""

from __future__ import annotations

import functools
from pathlib import Path

from exported_model import EMBEDDED, TEXTS, build, get_run, make_stage

from appliance.bundle.pack import pack
from appliance.events import ignore_event
from appliance.recipe import BundleRecipe, DocumentsRecipe, Recipe
from appliance.rundir import RunDir
from appliance.values import (
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    Document,
    EvalReport,
    FileVerdict,
    Gate,
    MemoryEstimate,
    OnnxModel,
    ParityReport,
    RateTrial,
    Rejected,
    Rung,
    Score,
    Split,
    TrainPlan,
    TunedModel,
    Verdict,
)

SECRET = "Wasserkraftwerk-Nordhang"
"""Stands in every path of a run: must not get into a bundle."""

NAMES = ("leave.md", "pump.md", "contract.md")
"""Files of the texts that a bundle with search holds."""

BASE = BaseSpec(
    name="embedded",
    folder=str(EMBEDDED),
    architecture="LlamaForCausalLM",
    model_type="llama",
    num_layers=4,
    width=256,
    intermediate_width=704,
    num_heads=4,
    num_kv_heads=2,
    head_width=64,
    vocab_size=8192,
    context=1024,
    tied=False,
    num_parameters=7_350_000,
    weights_bytes=14_295_648,
    dtype="float16",
    licence="apache-2.0",
    exportable=True,
    sha256="0" * 64,
)
PLAN = TrainPlan(
    base="embedded",
    method="qlora",
    device="cpu",
    compute_dtype="float32",
    rank=16,
    tunes_head=True,
    recompute=False,
    sequence_length=512,
    packs_per_step=4,
    num_epochs=2,
    num_steps=40,
    threads=2,
    memory=MemoryEstimate(
        runtime_bytes=1,
        weights_bytes=2,
        trainable_bytes=3,
        gradients_bytes=4,
        optimizer_bytes=5,
        activations_bytes=6,
        head_bytes=7,
    ),
    memory_limit_bytes=2**33,
    seconds={"tune": 60.0},
    disk_bytes=2**28,
    rejected=(Rejected(choice="full", reason="needs 9 GiB of 8"),),
    reason="the largest that fits",
)
TUNED = TunedModel(
    folder=f"tune/{SECRET}",
    method="qlora",
    lr=3e-3,
    trials=(RateTrial(lr=3e-3, loss=5.2), RateTrial(lr=1e-2, loss=5.3)),
    step=30,
    num_steps=40,
    num_tokens=120_000,
    num_labels=100_000,
    start_loss=5.5,
    held_out_loss=5.0,
    peak_memory_bytes=2**29,
    planned_memory_bytes=2**29 + 2**27,
    tokens_per_second=1_900.0,
    seconds=63.0,
)
SCORE = Score(loss=5.5, text_loss=5.6, answer_loss=None, bits_per_byte=2.1, answer_f1=0.1)
REPORT = EvalReport(
    base=SCORE,
    tuned=SCORE.model_copy(update={"loss": 5.0}),
    num_documents=7,
    num_labels=4_321,
    improvement=0.09,
    improvement_low=0.07,
    improvement_high=0.11,
    text_improvement=None,
    text_improvement_low=None,
    text_improvement_high=None,
    answers_file=f"evaluate/{SECRET}.jsonl",
)
PARITY = ParityReport(
    rungs=(
        Rung(
            rung="onnx-int4",
            loss=5.01,
            kl=3e-3,
            top1=0.95,
            gain_kept=0.98,
            passed=True,
            thresholds="KL < 0.05, gain kept >= 95 %",
        ),
    ),
    base_loss=5.5,
    num_positions=3_900,
    shipped="int4",
)
CORPUS = Corpus(
    documents_file=f"documents/{SECRET}.jsonl",
    ledger_file=f"documents/{SECRET}.ledger.jsonl",
    num_files=12,
    num_used=9,
    num_duplicates=1,
    num_skipped=2,
    num_documents=9,
    num_characters=54_321,
    num_secrets_masked=3,
    sha256="1" * 64,
)
SPLIT = Split(
    folder=f"dataset/{SECRET}", num_documents=3, num_examples=30, num_tokens=9_000, num_labels=8_000
)
DATASET = Dataset(
    train=SPLIT,
    valid=SPLIT,
    test=SPLIT,
    questions_file=f"dataset/{SECRET}.jsonl",
    ledger_file=f"dataset/{SECRET}.ledger.jsonl",
    num_questions=5,
    num_tokens_dropped=17,
    num_tokens_repeated=170,
    longest_example=384,
    sha256="2" * 64,
)

VERDICT = Verdict(
    decision="deploy",
    sentence="deploy: the loss fell by 9.0 %",
    gates=(
        Gate(name="better than the base", passed=True, measured="9.0 %", limit="above 0 %"),
        Gate(name="does not leak", passed=None, measured="not measured", limit="no secret"),
    ),
)

RECIPE = Recipe(documents=DocumentsRecipe(mask_words=(SECRET,)))


def pack_again(onnx: OnnxModel, stage, **changes) -> Bundle:
    """`pack` with the values above, some of them changed."""
    parts = {
        "base": BASE,
        "plan": PLAN,
        "tuned": TUNED,
        "report": REPORT,
        "parity": PARITY,
        "corpus": CORPUS,
        "dataset": DATASET,
        "verdict": VERDICT,
        "recipe": RECIPE,
    }
    return pack(onnx, *(parts | changes).values(), stage)


def _write_ledger(path: Path) -> None:
    rows = (
        FileVerdict(path=f"{SECRET}.md", verdict="used", num_bytes=900, sha256="b" * 64),
        FileVerdict(path=f"{SECRET}.pdf", verdict="duplicate", num_bytes=800, sha256="a" * 64),
        FileVerdict(path=f"{SECRET}.mp3", verdict="skipped", reason="it is sound", num_bytes=70),
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))


@functools.cache
def get_bundle() -> Path:
    """Made by a stage of a real run."""
    onnx = build("int4")
    run = RunDir(get_run(), ignore_event, lambda: False)
    try:
        values = (onnx, BASE, PLAN, TUNED, REPORT, PARITY, CORPUS, DATASET, VERDICT, RECIPE)
        _write_ledger(run.path / CORPUS.ledger_file)
        bundle = run.stage("bundle", pack, *values)
    finally:
        run.close()
    return run.path / bundle.folder


@functools.cache
def get_search_bundle() -> Path:
    """The same with a search index over the three texts, as a run beside the other one."""
    onnx = build("int4")
    folder = get_run() / "with-search"
    folder.mkdir()
    stage = make_other_stage(folder)
    documents = folder / CORPUS.documents_file
    rows = (
        Document(number=number, source=name, title=name, text=f"# {name}\n\n{text}\n")
        for number, (name, text) in enumerate(zip(NAMES, TEXTS, strict=True))
    )
    documents.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    recipe = RECIPE.model_copy(update={"bundle": BundleRecipe(search="yes")})
    pack_again(onnx, stage, recipe=recipe)
    return stage.folder


def make_other_stage(folder: Path):
    """A stage beside the shared run that can open what the run's values name."""
    stage = make_stage(folder, "bundle")
    _write_ledger(folder / CORPUS.ledger_file)
    for path in get_run().glob("export-*"):
        (folder / path.name).symlink_to(path)
    return stage
