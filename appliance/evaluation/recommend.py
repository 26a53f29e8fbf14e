"""What to do with a folder of documents, from the figures of an assessment. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.units import format_share
from appliance.values import Advice, Asked, Recommendation, Way, WayComparison, WayScore

NUM_TESTS = 4
"""Ways that are tried against what is cheaper."""

SURE = 0.05 / NUM_TESTS
"""A p-value below it counts: 5 % over all tests together (Bonferroni)."""

MIN_DOCUMENTS = 8
"""With fewer no test can be passed: n sign flips give no p-value below 2 / 2^n, and 2 / 2^7 > SURE.
"""

MIN_QUESTIONS = 16
"""With fewer the 95 % interval of a score is wider than a quarter of the scale."""

WORTH = 0.03
"""A smaller gain of the score is not worth another way, however sure: three questions of a hundred
in which one more wrong answer is found out."""

PROMISING = 0.1
"""A gain that is not sure, but that more documents might prove."""

ADVICE: dict[Way, Recommendation] = {
    "base": "do nothing",
    "prompt": "prompt",
    "search": "search",
    "tuned": "tune",
    "tuned+search": "tune and search",
}
"""Ways from the cheapest to the dearest, and what each is called when it is advised."""


def recommend(ways: Sequence[WayScore], asked: Asked | None) -> Advice:
    """The cheapest way that no dearer one beats.

    Ways are gone through from the cheapest on; another one takes the place of the one held only
    where its gain is worth having and is sure.

    Args:
        ways: base first.
        asked: all comparisons between them; None where there was nothing to ask.
    """
    lacking = _find_lack(asked)
    if asked is None or lacking:
        return Advice(recommendation="too few documents to know", reasons=(lacking,))
    tests = {(row.way, row.against): row for row in asked.comparisons}
    scores = {way.name: way.score for way in ways}
    held: Way = "base"
    reasons: list[str] = []
    promising: list[WayComparison] = []
    for way in list(ADVICE)[1:]:
        if way not in scores:
            continue
        test = tests[way, held]
        is_sure = test.p_value < SURE
        if is_sure and test.difference >= WORTH:
            reasons.append(_describe(test, "better than"))
            held, promising = way, []
            continue
        word = "worse than" if _is_worse(test) else "not surely better than"
        reasons.append(_describe(test, word))
        if not is_sure and test.difference >= PROMISING:
            promising.append(test)
    decided = [reason for reason in reasons if reason.startswith(f"{held} is better")]
    others = [reason for reason in reasons if reason not in decided]
    if held == "base" and promising:
        most = max(promising, key=lambda test: test.difference)
        first = (
            f"{most.way} looks {most.difference:+.2f} better than {most.against}, but "
            f"{asked.num_questions} questions from {asked.num_documents} documents leave it open"
        )
        return Advice(recommendation="too few documents to know", reasons=(first, *others))
    if held == "base":
        others.insert(0, f"nothing beats the base, which scores {scores['base']:.2f}")
    return Advice(recommendation=ADVICE[held], reasons=(*decided, *others, *_tell_limits(ways)))


def _find_lack(asked: Asked | None) -> str:
    """Why the questions cannot decide anything; empty where they can."""
    if asked is None:
        return "no question could be made from the held-out documents"
    if asked.num_questions < MIN_QUESTIONS:
        return f"{asked.num_questions} held-out questions; {MIN_QUESTIONS} are needed"
    if asked.num_documents < MIN_DOCUMENTS:
        return (
            f"the held-out questions come from {asked.num_documents} documents; "
            f"{MIN_DOCUMENTS} are needed for a sure difference"
        )
    return ""


def _is_worse(test: WayComparison) -> bool:
    return test.p_value < SURE and test.difference < 0


def _describe(test: WayComparison, word: str) -> str:
    return (
        f"{test.way} is {word} {test.against}: {test.difference:+.2f} "
        f"(95 % sure of {test.low:+.2f} to {test.high:+.2f}, p\u00a0{format_p(test.p_value)})"
    )


def format_p(p_value: float) -> str:
    """`= 0.012`, `< 0.001`, with a space that no line is broken at."""
    return "<\u00a00.001" if p_value < 0.001 else f"=\u00a0{p_value:.3f}"


def _tell_limits(ways: Sequence[WayScore]) -> tuple[str, ...]:
    """What a search that finds nothing, or an answer that it shows, says about the folder."""
    shown = next((way.answer_shown for way in ways if way.name == "search"), None)
    if shown is None:
        return ()
    return (f"search shows the answer word for word for {format_share(shown)} of the questions",)
