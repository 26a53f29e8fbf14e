"""For the engineer: how good the model is, whether what ships is the same model, what it leaks."""

from __future__ import annotations

from appliance.reports.blocks import Block, Note, Section, Table
from appliance.reports.record import RunReport
from appliance.reports.words import (
    NOT_MEASURED,
    WAYS,
    format_change,
    format_optional,
    name_field,
)
from appliance.units import format_bytes, format_seconds, format_share
from appliance.values import EvalReport, LeakReport, MergedModel, ProvenModel, Score

_KINDS = (
    ("all supervised tokens", "loss"),
    ("plain text", "text_loss"),
    ("answers", "answer_loss"),
    ("bits per byte", "bits_per_byte"),
    ("word overlap of answers (F1)", "answer_f1"),
)


def make_result_pages(report: RunReport) -> tuple[Section, ...]:
    """Evaluation, pretraining where there was any, parity, leaks."""
    sections = []
    if report.evaluation is not None:
        sections.append(_tell_evaluation("Evaluation", report.evaluation))
    if report.pretraining is not None and report.pretraining != report.evaluation:
        sections.append(_tell_evaluation("Continued pretraining", report.pretraining))
    if report.proven is not None:
        sections.append(_tell_parity(report.proven, report.merged))
    if report.evaluation is not None:
        sections.append(_tell_leaks(report.leaks))
    return tuple(sections)


def _tell_evaluation(title: str, evaluation: EvalReport) -> Section:
    blocks: list[Block] = [_tabulate_scores(evaluation), _tabulate_improvement(evaluation)]
    if evaluation.ways:
        blocks.append(_tabulate_ways(evaluation))
    if evaluation.general is not None:
        general = evaluation.general
        blocks.append(
            Table(
                caption="General text that neither model was trained on",
                head=("bits per byte before", "after", "rise of the loss", "limit", ""),
                rows=(
                    (
                        f"{general.base_bits_per_byte:.4f}",
                        f"{general.tuned_bits_per_byte:.4f}",
                        format_change(general.rise),
                        format_change(general.limit),
                        "forgot more than the limit" if general.has_forgotten else "within it",
                    ),
                ),
                align="rrrrl",
            )
        )
    if evaluation.terms is not None:
        terms = evaluation.terms
        blocks.append(
            Table(
                caption="Terms of the domain, guessed from the text before them",
                head=("places", "guessed before", "after", "loss before", "after"),
                rows=(
                    (
                        f"{terms.num_places:,}",
                        format_share(terms.base_share),
                        format_share(terms.tuned_share),
                        f"{terms.base_loss:.4f}",
                        f"{terms.tuned_loss:.4f}",
                    ),
                ),
                align="rrrrr",
            )
        )
    return Section(
        title=title,
        lead=f"Base against tuned on {evaluation.num_labels:,} tokens of "
        f"{evaluation.num_documents:,} held-out texts. Loss in nats per supervised token.",
        blocks=blocks,
    )


def _tabulate_scores(evaluation: EvalReport) -> Table:
    return Table(
        head=("", "base", "tuned", "change"),
        rows=tuple(
            (
                name,
                format_optional(getattr(evaluation.base, field)),
                format_optional(getattr(evaluation.tuned, field)),
                _compare(evaluation.base, evaluation.tuned, field),
            )
            for name, field in _KINDS
        ),
        align="lrrr",
    )


def _compare(base: Score, tuned: Score, field: str) -> str:
    before, after = getattr(base, field), getattr(tuned, field)
    if before is None or after is None or before == 0:
        return "–"
    return format_change((after - before) / before)


def _tabulate_improvement(evaluation: EvalReport) -> Table:
    rows = [
        (
            "all supervised tokens",
            format_change(-evaluation.improvement),
            f"{format_change(-evaluation.improvement_low)} to "
            f"{format_change(-evaluation.improvement_high)}",
        )
    ]
    low, high = evaluation.text_improvement_low, evaluation.text_improvement_high
    if evaluation.text_improvement is not None and low is not None and high is not None:
        change = format_change(-evaluation.text_improvement)
        rows.append(("plain text", change, f"{format_change(-low)} to {format_change(-high)}"))
    return Table(
        caption="Change of the loss, with its interval",
        head=("", "change", "95 % interval"),
        rows=rows,
        align="lrr",
        note="Paired bootstrap over the held-out texts.",
    )


def _tabulate_ways(evaluation: EvalReport) -> Table:
    return Table(
        caption="Ways of answering",
        head=("way", "score", "95 % interval", "time of an answer"),
        rows=tuple(
            (
                WAYS.get(way.name, way.name),
                f"{way.score:.4f}",
                f"{way.low:.4f} to {way.high:.4f}",
                format_seconds(way.seconds),
            )
            for way in evaluation.ways
        ),
        align="lrrr",
    )


def _tell_parity(proven: ProvenModel, merged: MergedModel | None) -> Section:
    parity = proven.parity
    blocks: list[Block] = [
        Table(
            head=("rung", "loss", "KL", "top-1 agreement", "gain kept", "", "had to hold"),
            rows=tuple(
                (
                    rung.rung,
                    f"{rung.loss:.4f}",
                    f"{rung.kl:.2g}",
                    format_share(rung.top1),
                    "–" if rung.gain_kept is None else format_share(rung.gain_kept),
                    "passed" if rung.passed else "failed",
                    rung.thresholds,
                )
                for rung in parity.rungs
            ),
            align="lrrrrnx",
            note=f"On {parity.num_positions:,} held-out positions, where the base has a loss of "
            f"{parity.base_loss:.4f}. KL in nats per position, against the rung above. "
            f"{parity.shipped} ships, {format_bytes(proven.onnx.num_bytes)}.",
        )
    ]
    if parity.tried:
        blocks.append(
            Table(
                caption="Precisions that were refused",
                head=("precision", "reason"),
                rows=tuple((row.choice, row.reason) for row in parity.tried),
                align="lx",
            )
        )
    if merged is not None and merged.losses:
        blocks.append(
            Table(
                caption="Ways of merging",
                head=("into the weights", "held-out loss", ""),
                rows=tuple(
                    (name, f"{loss:.4f}", "kept" if name == merged.merged_into else "")
                    for name, loss in sorted(merged.losses.items(), key=lambda row: row[1])
                ),
                align="lrl",
            )
        )
    return Section(
        title="Is what ships the model that was trained?",
        lead="Each model against the one above it.",
        blocks=blocks,
    )


def _tell_leaks(leaks: LeakReport | None) -> Section:
    title = "What could be extracted"
    if leaks is None:
        text = "Not measured. The weights learned from private text and can repeat passages of it."
        return Section(title=title, blocks=(Note(text=text),))
    rows = [
        (name_field(name), NOT_MEASURED if value is None else _write(value))
        for name, value in leaks.model_dump(mode="json").items()
        if not isinstance(value, dict | list)
    ]
    return Section(
        title=title,
        lead="By somebody who has the bundle and asks it as often as they like. An AUC of 0.5 "
        "tells nothing of who was trained on; 1 tells all.",
        blocks=(Table(head=("", "measured"), rows=rows, align="lr"),),
    )


def _write(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
