"""The answers of every way side by side: scores, paired tests, and a private file to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations, zip_longest
from pathlib import Path
from typing import Any

from appliance.evaluation.overlap import is_exact, measure_overlap, measure_rouge_l, stands_in
from appliance.evaluation.rules import is_refusal, keeps_rule
from appliance.evaluation.sheet import NUM_OPTIONS, Sheet
from appliance.evaluation.significance import compare_scores, estimate_mean, measure_calibration
from appliance.evaluation.ways import WayAnswers
from appliance.files import write_text
from appliance.values import Asked, Way, WayComparison, WayScore

_ANSWER_BEGINS = 8
"""Words of an answer that have to stand in a passage: passages may cut long ones."""


def score_ways(
    sheet: Sheet, answers: dict[Way, WayAnswers], rules: Sequence[str]
) -> tuple[WayScore, ...]:
    """Score every way; none where nothing was asked.

    Args:
        sheet: what was asked.
        answers: of each way, the cheapest first.
        rules: of form, from the recipe.
    """
    return tuple(_score(name, each, sheet, rules) for name, each in answers.items() if each.beaten)


def compare_ways(
    sheet: Sheet, answers: dict[Way, WayAnswers], index_seconds: float
) -> Asked | None:
    """Compare every way with those before it; None where nothing was asked.

    Args:
        sheet: what was asked.
        answers: of each way, the cheapest first.
        index_seconds: to build what was searched.
    """
    number = min((len(each.beaten) for each in answers.values()), default=0)
    if not number:
        return None
    documents = sheet.documents[:number]
    return Asked(
        comparisons=tuple(
            _compare(way, answers[way], against, answers[against], documents)
            for against, way in combinations(answers, 2)
        ),
        num_questions=number,
        num_documents=len(set(documents)),
        num_options=NUM_OPTIONS,
        num_passages=sheet.num_passages,
        index_seconds=index_seconds,
    )


def _score(name: Way, each: WayAnswers, sheet: Sheet, rules: Sequence[str]) -> WayScore:
    number = len(each.beaten)
    estimate = estimate_mean(each.beaten, sheet.documents[:number])
    pairs = [(a, q.answer) for a, q in zip(each.answers, sheet.questions, strict=False)]
    searches = name in ("search", "tuned+search")
    return WayScore(
        name=name,
        score=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        seconds=each.seconds,
        accuracy=sum(each.is_right) / number,
        calibration_error=measure_calibration(each.trust, each.is_right),
        exact=_average([float(is_exact(*pair)) for pair in pairs]),
        f1=_average([measure_overlap(*pair) for pair in pairs]),
        rouge_l=_average([measure_rouge_l(*pair) for pair in pairs]),
        citation=_average(_find_files(sheet, number)) if searches else None,
        answer_shown=_average(_find_answers(sheet, number)) if searches else None,
        refusals=_average([float(is_refusal(answer)) for answer in each.to_unanswerable]),
        rules={
            rule: sum(keeps_rule(rule, answer) for answer in each.answers) / len(each.answers)
            for rule in rules
            if each.answers
        },
    )


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _find_files(sheet: Sheet, number: int) -> list[float]:
    """1 where a passage of the question's own file is shown."""
    return [
        float(question.source in {passage.source for passage in shown})
        for question, shown in zip(sheet.questions[:number], sheet.found, strict=False)
    ]


def _find_answers(sheet: Sheet, number: int) -> list[float]:
    """1 where the answer, or its beginning, stands in a passage that is shown."""
    return [
        float(
            any(
                stands_in(" ".join(question.answer.split()[:_ANSWER_BEGINS]), passage.text)
                for passage in shown
            )
        )
        for question, shown in zip(sheet.questions[:number], sheet.found, strict=False)
    ]


def _compare(
    way: Way, ours: WayAnswers, against: Way, theirs: WayAnswers, documents: Sequence[int]
) -> WayComparison:
    estimate = compare_scores(ours.beaten, theirs.beaten, documents)
    assert estimate.p_value is not None
    return WayComparison(
        way=way,
        against=against,
        difference=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        p_value=estimate.p_value,
    )


def keep_answers(path: Path, sheet: Sheet, answers: dict[Way, WayAnswers]) -> None:
    """Write the answers in words side by side: best, worst, second best, second worst, and so on.

    Best is where tuning gained most, in words shared with the reference and then in score.
    """
    rows = [
        _collect_row(number, sheet, answers)
        for number in range(max((len(each.answers) for each in answers.values()), default=0))
    ]
    rows.sort(
        key=lambda row: (
            row["gain"], row["scores"].get("tuned", 0.0) - row["scores"].get("base", 0.0)
        )
    )  # fmt: skip
    middle = len(rows) // 2
    ordered = [
        row
        for pair in zip_longest(reversed(rows[middle:]), rows[:middle])
        for row in pair
        if row is not None
    ]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered))


def _collect_row(number: int, sheet: Sheet, answers: dict[Way, WayAnswers]) -> dict[str, Any]:
    question = sheet.questions[number]
    spoken: dict[Way, str] = {
        way: each.answers[number] for way, each in answers.items() if each.answers
    }
    base, tuned = (measure_overlap(spoken[way], question.answer) for way in ("base", "tuned"))
    row: dict[str, Any] = question.model_dump()
    row.update({str(way): answer for way, answer in spoken.items()})
    return row | {
        "scores": {way: each.beaten[number] for way, each in answers.items() if each.beaten},
        "gain": tuned - base,
        "shown": [passage.source for passage in sheet.found[number]],
    }
