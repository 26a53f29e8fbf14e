"""A run as the pipeline leaves it: real receipts, events and ledgers, with figures made up."""

import json

from appliance.events import Finished, HeldOut, StepDone, write_events_to
from appliance.recipe import Recipe, TuneRecipe
from appliance.reports.origin import keep_origin
from appliance.rundir import RunDir, StageFolder
from appliance.values import (
    BaseChoice,
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    Decision,
    EvalReport,
    FileVerdict,
    Gate,
    GeneralScore,
    LeakReport,
    MemoryEstimate,
    MergedModel,
    OnnxModel,
    ParityReport,
    ProvenModel,
    RateTrial,
    Rejected,
    Rung,
    Score,
    SpeedEstimate,
    Split,
    TermScore,
    TokenVerdict,
    TrainPlan,
    TunedModel,
    TuneResult,
    Verdict,
    WayScore,
)
from tests.planning.machines import make_hardware

EVIL = "<script>alert(1)</script>/\u202egnp.exe\x07\n|`x`.md"
"""A name that a stranger may give to a file."""

WORDS = "Nordhang-Wasserwerk"
"""Stands in every name of a file: must not get into the public form."""

SPEC = BaseSpec(
    name="some/base",
    folder="/home/somebody/base",
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
    num_parameters=7_350_001,
    weights_bytes=14_295_648,
    dtype="float16",
    licence="apache-2.0",
    exportable=True,
    sha256="5" * 64,
)
PLAN = TrainPlan(
    base="some/base",
    method="qlora",
    device="cpu",
    compute_dtype="float32",
    rank=16,
    tunes_head=True,
    recompute=False,
    sequence_length=512,
    packs_per_step=4,
    num_epochs=2,
    num_steps=600,
    threads=2,
    memory=MemoryEstimate(
        runtime_bytes=474_169_344,
        weights_bytes=18_307_792,
        trainable_bytes=3_473_408,
        gradients_bytes=3_473_409,
        optimizer_bytes=6_946_816,
        activations_bytes=82_165_760,
        head_bytes=53_477_376,
        corrected_bytes=-1_234_567,
        peak_at="loss",
    ),
    memory_limit_bytes=2**33,
    speed=SpeedEstimate(tokens_per_second=1969.4, low=1378.5, high=2560.2),
    seconds={"corpus": 2.4, "tune": 112.0},
    disk_bytes=2**28,
    decisions=(Decision(name="tune.method", value="qlora", by="planner", reason="fits"),),
    rejected=(Rejected(choice="full", reason="needs 9 GiB of 8"),),
    reason="the largest that fits",
)
TUNED = TunedModel(
    folder="tune/weights",
    method="qlora",
    lr=3e-3,
    trials=(
        RateTrial(lr=1e-3, loss=4.97),
        RateTrial(lr=3e-3, loss=4.38),
        RateTrial(lr=1, loss=None),
    ),
    step=600,
    num_steps=600,
    num_tokens=127_130,
    num_labels=105_598,
    start_loss=5.2859,
    held_out_loss=3.0152,
    peak_memory_bytes=867_860_480,
    planned_memory_bytes=906_353_360,
    tokens_per_second=1849.69,
    seconds=68.73,
    utilisation=0.3617,
    num_returns=1,
)
SCORE = Score(
    loss=5.2654, text_loss=5.2774, answer_loss=None, bits_per_byte=2.4352, answer_f1=0.085
)
WAYS = (
    WayScore(name="base", score=0.211, low=0.142, high=0.293, seconds=0.81),
    WayScore(name="tuned+search", score=0.574, low=0.503, high=0.652, seconds=1.52),
)
REPORT = EvalReport(
    base=SCORE,
    tuned=SCORE.model_copy(update={"loss": 3.2638}),
    num_documents=45,
    num_labels=10_501,
    improvement=0.38015,
    improvement_low=0.3145,
    improvement_high=0.46679,
    text_improvement=0.38697,
    text_improvement_low=0.29969,
    text_improvement_high=0.48678,
    answers_file="evaluate/answers.jsonl",
    general=GeneralScore(
        base_bits_per_byte=1.213, tuned_bits_per_byte=1.224, rise=0.0091, limit=0.02
    ),
    terms=TermScore(
        num_places=301, base_share=0.12, tuned_share=0.31, base_loss=4.1, tuned_loss=3.2
    ),
    ways=WAYS,
)
PROVEN = ProvenModel(
    onnx=OnnxModel(folder="parity/onnx-int4", precision="int4", num_bytes=13_569_184),
    parity=ParityReport(
        rungs=(
            Rung(
                rung="adapter",
                loss=3.4319,
                kl=0.0,
                top1=1.0,
                gain_kept=1.0,
                passed=True,
                thresholds="the model as it was trained",
            ),
            Rung(
                rung="onnx-int4",
                loss=3.4483,
                kl=0.0153,
                top1=0.906,
                gain_kept=0.9897,
                passed=True,
                thresholds="KL < 0.05, gain kept >= 98 %",
            ),
        ),
        base_loss=5.0313,
        num_positions=2203,
        shipped="int4",
        tried=(Rejected(choice="int4-mixed", reason="keeps 91 %"),),
    ),
    build_seconds=2.0307,
)
LEAKS = LeakReport(
    membership_auc=0.612,
    longest_recall=41,
    canary_exposure=7.25,
    num_spans=207,
    num_secrets_recalled=2,
)
VERDICT = Verdict(
    decision="deploy with search",
    sentence="deploy with search: better on 78 of 96 questions",
    gates=(
        Gate(name="leaks nothing", passed=False, measured="2 values", limit="none"),
        Gate(name="keeps a schema", passed=None, measured="not measured", limit="the recipe"),
    ),
    is_forced=True,
)
SPLIT = Split(
    folder="dataset/train",
    num_documents=224,
    num_examples=430,
    num_tokens=63_565,
    num_labels=52_799,
)
DATASET = Dataset(
    train=SPLIT,
    valid=SPLIT,
    test=SPLIT,
    questions_file="dataset/questions.jsonl",
    ledger_file="dataset/ledger.jsonl",
    num_questions=64,
    num_tokens_dropped=17,
    num_tokens_repeated=13_121,
    longest_example=384,
    sha256="2" * 64,
)
BUNDLE = Bundle(folder="bundle", manifest_sha256="a" * 64, num_bytes=13_603_168)


def list_files(num_files):
    """Verdicts of a folder: one name is hostile, one file is skipped, one repeats another."""
    yield FileVerdict(path=EVIL, verdict="used", num_bytes=900, num_secrets_masked=3)
    yield FileVerdict(
        path=f"{WORDS}.mp3",
        verdict="skipped",
        reason="it is sound",
        fix="write it down",
        num_bytes=70,
    )
    yield FileVerdict(
        path=f"copy of {WORDS}.md",
        verdict="duplicate",
        num_bytes=800,
        reason=f"it says the same as {WORDS}.md",
        duplicate_of=f"{WORDS}.md",
    )
    for number in range(num_files - 3):
        yield FileVerdict(path=f"{WORDS}/{number:06}.md", verdict="used", num_bytes=10)


def make_run(path, *, num_files=12, ending=None, until="bundle", extra=None):
    """A run, with all stages up to one, and how it ended (None: it did not).

    Args:
        path: its folder.
        num_files: of the documents.
        ending: the last event, or the word "finished".
        until: the last stage that is done.
        extra: further stages by name, with their values, before the bundle.
    """
    run = RunDir(path, write_events_to_run(path), lambda: False)
    corpus = Corpus(
        documents_file="corpus/documents.jsonl",
        ledger_file="corpus/ledger.jsonl",
        num_files=num_files,
        num_used=num_files - 2,
        num_duplicates=1,
        num_skipped=1,
        num_documents=num_files - 2,
        num_characters=197_786,
        num_secrets_masked=3,
        sha256="7" * 64,
        masked={"email": 2, "api_key": 1},
        num_boilerplate_lines=31,
        boilerplate_file="corpus/boilerplate.jsonl",
    )

    def read(stage: StageFolder) -> Corpus:
        rows = (row.model_dump_json() for row in list_files(num_files))
        (stage.folder / "ledger.jsonl").write_text("\n".join(rows) + "\n")
        line = {"text": f"{WORDS} page 1", "num_files": 9, "kept_in": f"{WORDS}.md"}
        (stage.folder / "boilerplate.jsonl").write_text(json.dumps(line) + "\n")
        return corpus

    def build(stage: StageFolder) -> Dataset:
        row = TokenVerdict(
            source=f"{WORDS}.md",
            split="train",
            num_tokens=110,
            num_used=93,
            num_dropped=17,
            num_repeated=4,
            reason="longer than a pack",
        )
        (stage.folder / "ledger.jsonl").write_text(row.model_dump_json() + "\n")
        return DATASET

    def train(stage: StageFolder) -> TunedModel:
        for step in range(1, 601):
            stage.on_event(make_step(step))
            if step % 100 == 0:
                stage.on_event(HeldOut(step=step, loss=5 - step / 300, is_best=True))
        return TUNED

    keep_origin(path, "tune", Recipe(tune=TuneRecipe(rank=8)), ("tune.rank",), make_hardware())
    stages = {
        "corpus": read,
        "base": give(BaseChoice(spec=SPEC)),
        "dataset": build,
        "plan": give(PLAN),
        "tune": train,
        "evaluate": give(REPORT),
        "merge": give(
            MergedModel(
                folder="merge/model",
                merged_into="original",
                losses={"original": 3.01, "dequantized": 3.02},
                num_bytes=99,
            )
        ),
        "parity": give(PROVEN),
        **{name: give(value) for name, value in (extra or {}).items()},
        "bundle": give(BUNDLE),
    }
    try:
        for name, function in stages.items():
            run.stage(name, function)
            if name == until:
                break
    finally:
        run.close()
    if ending == "finished":
        ending = Finished(result=make_result(path).model_dump_json())
    if ending is not None:
        run.on_event(ending)
    return path


def make_step(step):
    return StepDone(
        step=step,
        num_steps=600,
        loss=5 - step / 300,
        lr=1e-3,
        tokens_per_second=1900.0,
        seconds_left=0.0,
        gradient_norm=1.0,
    )


def make_result(path):
    return TuneResult(
        run=str(path),
        bundle=str(path / "bundle"),
        manifest_sha256="a" * 64,
        base="some/base",
        method="qlora",
        lr=3e-3,
        base_loss=5.2654,
        tuned_loss=3.2638,
        exported_loss=3.2803,
        gain_kept=0.9897,
        evaluation=REPORT,
        parity=PROVEN.parity.rungs,
        precision="int4",
        planned_memory_bytes=906_353_360,
        peak_memory_bytes=867_860_480,
        tokens_per_second=1849.69,
        seconds={"tune": 93.06},
        planned_seconds={"tune": 112.0},
        files={"found": 12},
        tokens={"train": 63_565},
        leaks=LEAKS,
        verdict=VERDICT,
    )


def give(value):
    """A stage that gives a value."""

    def stage(folder: StageFolder):
        return value

    stage.__annotations__["return"] = type(value)
    return stage


def write_events_to_run(path):
    path.mkdir(parents=True)
    return write_events_to(path / "events.jsonl")
