"""The first page: for whoever decides, and reads no further."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.reports.blocks import Bar, Bars, Block, Check, Checks, Items, Note, Section, Tile
from appliance.reports.record import RunReport
from appliance.reports.words import NOT_MEASURED, WAYS, format_change, format_optional
from appliance.units import format_bytes, format_count, format_seconds, format_share
from appliance.values import EvalReport, LeakReport, WayScore


def make_tiles(report: RunReport) -> tuple[Tile, ...]:
    """Better by how much, what answers gained, what export kept, what it cost."""
    return (
        _tell_improvement(report.evaluation),
        _tell_answers(report.evaluation),
        _tell_export(report),
        _tell_cost(report),
    )


def make_first_page(report: RunReport) -> tuple[Section, ...]:
    """Ways of answering, conditions, what is next."""
    ways = report.evaluation.ways if report.evaluation else ()
    return (
        Section(
            title="Which way answers best",
            lead="Held-out questions, answered in each way; the line is the 95 % interval."
            if ways
            else "",
            blocks=(
                draw_ways(ways)
                if ways
                else Note(text=f"{NOT_MEASURED.capitalize()}: nobody compared it with search."),
            ),
        ),
        Section(title="What had to hold", blocks=_list_conditions(report)),
        Section(title="What to do next", blocks=(Items(rows=tuple(list_next_steps(report))),)),
    )


def draw_ways(ways: tuple[WayScore, ...]) -> Bars:
    """A line for each way from the low to the high end of its interval, with a dot at its score."""
    best = max(ways, key=lambda way: way.score)
    most = max(1e-9, *(way.high for way in ways))
    return Bars(
        rows=tuple(
            Bar(
                name=WAYS.get(way.name, way.name),
                start=max(0.0, 100 * way.low / most),
                end=100 * way.high / most,
                dot=100 * way.score / most,
                figure=f"{way.score:.2f} ({way.low:.2f} to {way.high:.2f}), "
                f"{format_seconds(way.seconds)} an answer",
                style="best" if way is best else "plain",
            )
            for way in ways
        ),
        note="1: the right answer stands out from every wrong one; 0.5: by chance.",
    )


def list_checks(report: RunReport) -> tuple[Check, ...]:
    """Gates of the verdict; where there is none, what else is known."""
    if report.verdict is not None:
        return tuple(
            Check(name=gate.name, passed=gate.passed, measured=gate.measured, limit=gate.limit)
            for gate in report.verdict.gates
        )
    return (
        _check_improvement(report.evaluation),
        _check_forgetting(report.evaluation),
        _check_leaks(report.leaks),
        _check_export(report),
    )


def list_next_steps(report: RunReport) -> Iterator[tuple[str, str]]:
    """What a person can do now: a word, and a sentence or a command."""
    run = report.folder or "BUNDLE"
    if report.ending is not None and report.ending.fix:
        yield "Mend", report.ending.fix
    if report.state == "unfinished":
        yield "Wait", "or start the same command again: it goes on where it was"
    if report.bundle is not None or report.form == "public":
        yield "Try it", f'appliance chat {run} -m "a question about your documents"'
        yield "Serve it", f"appliance serve {run}"
        yield "Check it", f"appliance verify {run}"
    general = report.evaluation.general if report.evaluation else None
    if general is not None and general.has_forgotten:
        yield "Forget less", "more general text among it, or a lower rate"
    if report.evaluation is not None and not report.evaluation.ways:
        yield (
            "Compare",
            "ask whether a search over the documents would do as well: appliance assess DOCUMENTS",
        )
    skipped = report.documents.num_by_verdict.get("skipped", 0)
    if skipped:
        yield (
            "Mend files",
            f"{skipped:,} file{'s were' if skipped != 1 else ' was'} not used; "
            "what helps stands under Documents",
        )
    if report.state == "finished" and report.signed == "no":
        yield "Sign", f"nobody vouches for it yet: appliance keys create, appliance keys sign {run}"


def _list_conditions(report: RunReport) -> tuple[Block, ...]:
    blocks: list[Block] = [Checks(rows=list_checks(report))]
    if report.verdict is not None and report.verdict.is_forced:
        blocks.append(Note(text="A person packed this model against the verdict (--force)."))
    return tuple(blocks)


def _tell_improvement(evaluation: EvalReport | None) -> Tile:
    name = "Loss on texts it never saw"
    if evaluation is None:
        return Tile(name=name, figure="–", detail=NOT_MEASURED)
    return Tile(
        name=name,
        figure=format_change(-evaluation.improvement),
        detail=f"95 % interval {format_change(-evaluation.improvement_low)} "
        f"to {format_change(-evaluation.improvement_high)}; lower is better",
    )


def _tell_answers(evaluation: EvalReport | None) -> Tile:
    name = "Word overlap with true answers"
    if evaluation is None or evaluation.tuned.answer_f1 is None:
        return Tile(name=name, figure="–", detail=NOT_MEASURED)
    return Tile(
        name=name,
        figure=f"{evaluation.tuned.answer_f1:.2f}",
        detail=f"the base alone: {format_optional(evaluation.base.answer_f1, 2)}; "
        "1 is word for word",
    )


def _tell_export(report: RunReport) -> Tile:
    name = "Of the gain that ships"
    if report.proven is None:
        return Tile(name=name, figure="–", detail="not exported")
    kept = report.proven.parity.rungs[-1].gain_kept
    size = format_bytes(report.proven.onnx.num_bytes)
    return Tile(
        name=name,
        figure="–" if kept is None else format_share(kept).replace(" ", "\u00a0"),
        detail=f"after export to {report.proven.onnx.precision}, {size}",
    )


def _tell_cost(report: RunReport) -> Tile:
    seconds = sum(stage.seconds for stage in report.stages)
    peak = f"; {format_bytes(report.tuned.peak_memory_bytes)} of memory" if report.tuned else ""
    device = report.plan.device if report.plan else "this machine"
    tokens = f", {format_count(report.tuned.num_tokens)} tokens read" if report.tuned else ""
    return Tile(name="It took", figure=format_seconds(seconds), detail=f"on {device}{tokens}{peak}")


def _check_improvement(evaluation: EvalReport | None) -> Check:
    limit = "the loss on held-out texts is lower, and not by chance"
    if evaluation is None:
        return Check(name="Better than the base", passed=None, measured=NOT_MEASURED, limit=limit)
    return Check(
        name="Better than the base",
        passed=evaluation.improvement_low > 0,
        measured=f"{evaluation.base.loss:.3f} → {evaluation.tuned.loss:.3f} nats per token",
        limit=limit,
    )


def _check_forgetting(evaluation: EvalReport | None) -> Check:
    general = evaluation.general if evaluation else None
    if general is None:
        return Check(
            name="Has not forgotten",
            passed=None,
            measured=NOT_MEASURED,
            limit="general text is predicted as well as before",
        )
    return Check(
        name="Has not forgotten",
        passed=not general.has_forgotten,
        measured=f"loss on general text {format_change(general.rise)}",
        limit=f"at most {format_change(general.limit)}",
    )


def _check_leaks(leaks: LeakReport | None) -> Check:
    if leaks is None:
        return Check(
            name="Does not leak",
            passed=None,
            measured=NOT_MEASURED,
            limit="no masked value and no long passage comes out",
        )
    return Check(
        name="Does not leak",
        passed=leaks.num_secrets_recalled == 0,
        measured=f"{leaks.num_secrets_recalled:,} masked values came out; longest passage "
        f"{leaks.longest_recall:,} tokens; AUC {leaks.membership_auc:.2f}",
        limit="no masked value comes out",
    )


def _check_export(report: RunReport) -> Check:
    name, limit = "Export is the same model", "every rung of the ladder passes"
    if report.proven is None:
        return Check(name=name, passed=None, measured=NOT_MEASURED, limit=limit)
    rungs = report.proven.parity.rungs
    passed = sum(rung.passed for rung in rungs)
    return Check(
        name=name,
        passed=passed == len(rungs),
        measured=f"{passed} of {len(rungs)} rungs passed; top-1 agreement of the last "
        f"{format_share(rungs[-1].top1)}",
        limit=limit,
    )
