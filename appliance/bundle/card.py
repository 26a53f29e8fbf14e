"""The model card of a bundle: what the model is, what it was made from, what it can and cannot do.

Written from numbers alone; nothing of a document can get into it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from appliance import __version__
from appliance.units import format_bytes, format_count, format_seconds, format_share, format_tally
from appliance.values import (
    BaseSpec,
    Corpus,
    Dataset,
    EvalReport,
    OnnxModel,
    ParityReport,
    Score,
    TrainPlan,
    TunedModel,
    Verdict,
)

_METHODS = {
    "qlora": "QLoRA: a low-rank update learned on the base in 4-bit NF4, merged afterwards",
    "lora": "LoRA: a low-rank update of all linear layers, merged afterwards",
    "adapter": "adapter tuning: gated bottlenecks beside the upper layers, merged by widening them",
    "full": "full fine-tuning of all weights",
    "prompt": "prompt tuning: learned vectors of virtual tokens before every text",
}

_LIMITS = """\
- The model was judged on documents of the same folder that it was not trained on. Nothing is
  known about its behaviour on other subjects, and it may have forgotten some of what the base knew.
- It can state falsehoods fluently, also about the documents. Have answers checked that matter.
- It was trained on private text and can repeat passages of it. Treat the bundle as confidential as
  the documents: masking of secrets lowers the risk, it does not remove it.
- Its licence is the licence of the base model, and whatever binds the documents.
"""

_TEXT = """\
**This bundle contains the text of the documents**, with their file names, in `search.db`: a search
index from which passages are put before a question. Whoever has the bundle can read all of it, and
whoever may ask a server that runs it can have any passage of it told. Give it only to those who may
read the documents themselves. `appliance tune` makes one without it: `--set bundle.search=no`.
"""

_USE = """\
    appliance verify .          # is the bundle complete and unchanged?
    appliance chat .            # talk to it

The folder is a plain ONNX Runtime GenAI model. Set `ORT_DISABLE_TELEMETRY=1` before you load it
from a program of your own, for the runtime calls home otherwise:

    import onnxruntime_genai as og
    model = og.Model(".")
    tokenizer = og.Tokenizer(model)
"""


def write_card(
    onnx: OnnxModel,
    base: BaseSpec,
    plan: TrainPlan,
    tuned: TunedModel,
    report: EvalReport,
    parity: ParityReport,
    corpus: Corpus,
    dataset: Dataset,
    verdict: Verdict,
    *,
    has_text: bool,
) -> str:
    """The card, in markdown.

    Args:
        onnx: the model that ships.
        base: what it was tuned from.
        plan: how it was to be tuned.
        tuned: how it was tuned.
        report: base against tuned.
        parity: how the shipped model compares with the tuned one.
        corpus: counts of the documents.
        dataset: counts of the examples.
        verdict: whether to use it.
        has_text: whether the bundle carries a search index, and with it the documents' text.
    """
    sections = [
        _describe(onnx, base, tuned),
        "## Verdict\n\n" + _describe_verdict(verdict),
        "## Base model and attribution\n\n" + _describe_base(base),
        "## Training\n\n" + _describe_training(plan, tuned, corpus, dataset),
        "## Evaluation\n\n" + _describe_evaluation(report),
        "## Parity of the export\n\n" + _describe_parity(parity),
        *(["## Text of the documents\n\n" + _TEXT] if has_text else []),
        "## Limits\n\n" + _LIMITS,
        "## How to run\n\n" + _USE,
    ]
    return "\n".join(sections)


def _describe(onnx: OnnxModel, base: BaseSpec, tuned: TunedModel) -> str:
    return f"""\
---
base_model: {base.name}
license: {base.licence}
library_name: onnxruntime-genai
tags: [onnx, {onnx.precision}, {tuned.method}]
---

# {base.name}, tuned on private documents

A language model of {format_count(base.num_parameters)} parameters for ONNX Runtime,
{onnx.precision}, {format_bytes(onnx.num_bytes)}. Made by appliance {__version__}.
"""


def _describe_verdict(verdict: Verdict) -> str:
    signs = {True: "passed", False: "**failed**"}
    missing = ", ".join(gate.name for gate in verdict.gates if gate.passed is None)
    unknown = f"\nNot measured: {missing}.\n" if missing else ""
    forced = "\n**Packed against this verdict: a person insisted.**\n" if verdict.is_forced else ""
    rows = "\n".join(
        f"| {gate.name} | {signs[gate.passed]} | {gate.measured} | {gate.limit} |"
        for gate in verdict.gates
        if gate.passed is not None
    )
    return f"""\
{verdict.sentence}.
{forced}
| gate | | measured | had to hold |
|---|---|---|---|
{rows}
{unknown}"""


def _describe_base(base: BaseSpec) -> str:
    text = f"""\
Tuned from {base.name} ({base.architecture}, {base.num_layers} layers, width {base.width}, context
of {base.context} tokens). Licence of the base: {base.licence}.
"""
    for name in ("MODEL_CARD.md", "README.md"):
        card = Path(base.folder) / name
        if card.is_file():
            body = _strip_front_matter(card.read_text(encoding="utf-8", errors="replace"))
            quoted = "\n".join(f"> {line}".rstrip() for line in body.strip().splitlines())
            return f"{text}\nWhat its makers say about it:\n\n{quoted}\n"
    return text


def _strip_front_matter(text: str) -> str:
    if text.startswith("---\n") and "\n---\n" in text[4:]:
        return text[4:].split("\n---\n", 1)[1]
    return text


def _describe_training(plan: TrainPlan, tuned: TunedModel, corpus: Corpus, dataset: Dataset) -> str:
    verdicts = (corpus.num_files, corpus.num_used, corpus.num_duplicates, corpus.num_skipped)
    splits = (dataset.train, dataset.valid, dataset.test)
    peak, planned = format_bytes(tuned.peak_memory_bytes), format_bytes(tuned.planned_memory_bytes)
    return f"""\
Method: {_METHODS[tuned.method]} (rank {plan.rank}, learning rate {tuned.lr:g}, sequence length
{plan.sequence_length}, step {tuned.step} of {tuned.num_steps} kept by held-out loss).

| | |
|---|---|
| files found / used / duplicates / skipped | {_list(verdicts)} |
| documents for training / choices / verdict | {_list(s.num_documents for s in splits)} |
| of the duplicates, nearly the same | {corpus.num_near_duplicates} |
| lines of boilerplate taken out | {corpus.num_boilerplate_lines} |
| private values masked | {format_tally(corpus.masked)} |
| tokens of training examples | {dataset.train.num_tokens:,} |
| of these supervised | {dataset.train.num_labels:,} |
| tokens read in training | {tuned.num_tokens:,} |
| held-out loss before / after | {tuned.start_loss:.4f} / {tuned.held_out_loss:.4f} nats per token |
| time, device | {format_seconds(tuned.seconds)}, {plan.device} |
| peak memory measured / planned | {peak} / {planned} |
"""


def _list(counts: Iterable[int]) -> str:
    return " / ".join(map(str, counts))


def _describe_evaluation(report: EvalReport) -> str:
    rows = "\n".join(
        _describe_score(name, score)
        for name, score in (("base", report.base), ("tuned", report.tuned))
    )
    return f"""\
On {report.num_documents} documents ({report.num_labels:,} tokens) that were not trained on.

| | loss | plain text | answers | bits per byte | answer F1 |
|---|---|---|---|---|---|
{rows}

Improvement of the loss: {format_share(report.improvement)} (95 % interval
{format_share(report.improvement_low)} to {format_share(report.improvement_high)}, paired bootstrap
over documents).
"""


def _describe_score(name: str, score: Score) -> str:
    cells = [score.loss, score.text_loss, score.answer_loss, score.bits_per_byte, score.answer_f1]
    return f"| {name} | " + " | ".join("-" if x is None else f"{x:.4f}" for x in cells) + " |"


def _describe_parity(parity: ParityReport) -> str:
    rows = "\n".join(
        f"| {rung.rung} | {rung.loss:.4f} | {rung.kl:.2g} | {format_share(rung.top1)} | "
        f"{'-' if rung.gain_kept is None else format_share(rung.gain_kept)} | {rung.thresholds} |"
        for rung in parity.rungs
    )
    refused = "".join(f"\nRefused: {entry.choice} ({entry.reason}).\n" for entry in parity.tried)
    return f"""\
Each model against the one above it, on the same {parity.num_positions:,} held-out tokens; the
base has a loss of {parity.base_loss:.4f} there. KL in nats per token.

| | loss | KL | top-1 agreement | gain kept | had to hold |
|---|---|---|---|---|---|
{rows}
{refused}"""
