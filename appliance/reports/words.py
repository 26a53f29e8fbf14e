"""The words of a report: its sentence, and names as people write them."""

from __future__ import annotations

from appliance.reports.record import RunReport
from appliance.units import format_share

METHODS = {
    "qlora": "QLoRA",
    "lora": "LoRA",
    "adapter": "adapter tuning",
    "full": "full training",
    "prompt": "prompt tuning",
}

STATES = {
    "finished": "finished",
    "refused": "refused by a gate",
    "failed": "failed",
    "stopped": "stopped",
    "unfinished": "not finished",
}

WAYS = {
    "base": "the base alone",
    "prompt": "the base with a good prompt",
    "search": "the base with search",
    "tuned": "the tuned model",
    "tuned+search": "the tuned model with search",
}

NOT_MEASURED = "not measured"


def write_headline(report: RunReport) -> str:
    """What came of a run, in a sentence: the verdict, where there is one."""
    if report.verdict is not None:
        return _finish(report.verdict.sentence)
    if report.state in ("refused", "failed") and report.ending is not None:
        return _finish(_capitalise(report.ending.what))
    if report.evaluation is None:
        return f"This run is {STATES[report.state]}: nothing has been judged yet."
    evaluation = report.evaluation
    if evaluation.improvement_low > 0:
        sentence = (
            f"The tuned model predicts documents that it never saw better than its base: "
            f"a loss {format_share(evaluation.improvement)} lower"
        )
    elif evaluation.improvement > 0:
        sentence = "The tuned model is a little better than its base, but that may be chance"
    else:
        sentence = "The tuned model is not better than its base"
    tail = "" if report.state == "finished" else f" (this run is {STATES[report.state]})"
    return sentence + tail + "."


def write_subject(report: RunReport) -> str:
    """What was tuned, on what, and how it was judged."""
    parts = []
    if report.base is not None:
        method = f" by {METHODS[report.plan.method]}" if report.plan else ""
        parts.append(
            f"{report.base.name}, a model of {format_parameters(report.base.num_parameters)} "
            f"({report.base.licence}), was tuned{method}"
        )
    if report.corpus is not None:
        subject = "on" if parts else "Read:"
        parts.append(f"{subject} {report.corpus.num_used:,} of {report.corpus.num_files:,} files")
    text = " ".join(parts)
    if report.evaluation is not None:
        text += (
            f", and judged on {report.evaluation.num_labels:,} tokens of "
            f"{report.evaluation.num_documents:,} held-out texts that it was not trained on"
        )
    return text + "." if text else ""


def format_parameters(number: int) -> str:
    """`7.1 million parameters`."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.1f} {word} parameters"
    return f"{number:,} parameters"


def format_change(share: float) -> str:
    """`−38.0 %`, with a true minus; of a loss, down is good."""
    return f"{share:+.1%}".replace("-", "\u2212").replace("%", "\u00a0%")


def format_optional(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where it was not measured."""
    return "–" if value is None else f"{value:.{digits}f}"


def name_field(name: str) -> str:
    """`num_secrets_recalled` as people say it; words for fields that are not known yet."""
    known = {
        "membership_auc": "telling trained from held-out documents by their loss (AUC)",
        "longest_recall": "longest passage repeated word for word (tokens)",
        "canary_exposure": "exposure of planted canaries (bits above chance)",
        "num_spans": "passages that were asked for",
        "num_secrets_recalled": "masked values that came out in the clear",
    }
    return known.get(name, name.removeprefix("num_").replace("_", " "))


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finish(sentence: str) -> str:
    text = _capitalise(sentence.strip())
    return text if text.endswith((".", "!", "?")) else f"{text}."
