"""Which questions and answers of a model are kept: those that the passage bears out.

No model judges: words of the passage do. That an answer stands in the passage does not make it the
answer to the question; of a weak base some wrong ones pass.
"""

from __future__ import annotations

import re
from typing import Literal

from appliance.dataset.pairing.words import find_content, list_words, points_elsewhere

Fault = Literal[
    "no question", "copied", "not of this text", "not self-contained",
    "no answer", "answer not in the text", "answer is the question", "asked before",
]  # fmt: skip

_QUESTION = re.compile(r"[A-Z](?:[^?!.\n]|\.(?=\S)){8,200}\?")
_ON_THE_TEXT = re.compile(
    r"\b(?:text|passage|paragraph|document|author|section|above|below|excerpt)\b", re.I
)
_RUN = 3
"""Words in a row that an answer of that many words or more must have in common with the passage."""
_MIN_FOUND = 0.9
"""Part of the content words of an answer that must stand in the passage; numbers all."""


def read_question(said: str) -> str:
    """The first question in what a model said; "" if there is none."""
    found = _QUESTION.search(said)
    return " ".join(found[0].split()) if found else ""


def judge_question(question: str, passage: str) -> Fault | None:
    """What is wrong with a question about a passage; None if nothing is.

    Args:
        question: as `read_question` gives it.
        passage: that was shown.
    """
    if not question:
        return "no question"
    if _squeeze(question) in _squeeze(passage):
        return "copied"
    if _ON_THE_TEXT.search(question) or points_elsewhere(question):
        return "not self-contained"
    shared = set(find_content(question)) & set(find_content(passage))
    return None if shared else "not of this text"


def judge_answer(answer: str, question: str, passage: str) -> Fault | None:
    """What is wrong with an answer from a passage; None if nothing is.

    Args:
        answer: as the model gave it.
        question: that it was asked.
        passage: that was shown.
    """
    content = find_content(answer)
    if not content:
        return "no answer"
    if not set(content) - set(find_content(question)):
        return "answer is the question"
    known = set(find_content(passage))
    found = sum(word in known for word in content) / len(content)
    has_numbers = all(word in known for word in content if any(map(str.isdigit, word)))
    if found < _MIN_FOUND or not has_numbers or not _shares_run(answer, passage):
        return "answer not in the text"
    return None


def _shares_run(answer: str, passage: str) -> bool:
    """Whether some of the words of an answer stand in a row in the passage."""
    words, text = list_words(answer), f" {' '.join(list_words(passage))} "
    size = min(_RUN, len(words))
    runs = (" ".join(words[start : start + size]) for start in range(len(words) - size + 1))
    return any(f" {run} " in text for run in runs)


def _squeeze(text: str) -> str:
    return " ".join(text.casefold().split())
