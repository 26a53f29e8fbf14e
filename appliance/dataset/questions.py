"""Held-out questions: what the evaluation asks both models, from documents neither trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.values import HeldOutQuestion

MAX_QUESTIONS = 128
_MAX_QUESTION_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A question that could be asked; real ones were written by people."""

    question: str
    answer: str
    source: str
    is_real: bool


def choose_questions(candidates: Sequence[Candidate], system: str = "") -> list[HeldOutQuestion]:
    """Pick at most 128, real ones first, in turn from every document, each question once.

    Args:
        candidates: of the test split.
        system: instruction that made pairs were trained with, and that goes before these too.
    """
    chosen: list[HeldOutQuestion] = []
    seen: set[str] = set()
    for is_real in (True, False):
        queues: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            if candidate.is_real == is_real:
                queues[candidate.source].append(candidate)
        for candidate in _take_turns(list(queues.values())):
            key = candidate.question.casefold()
            if key in seen or len(candidate.question) > _MAX_QUESTION_CHARACTERS:
                continue
            seen.add(key)
            chosen.append(
                HeldOutQuestion(
                    question=candidate.question,
                    answer=candidate.answer,
                    source=candidate.source,
                    system=system,
                )
            )
    return chosen[:MAX_QUESTIONS]


def _take_turns(queues: list[list[Candidate]]) -> list[Candidate]:
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
