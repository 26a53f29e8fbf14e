"""How much a generated answer has in common with the reference answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def measure_overlap(answer: str, reference: str) -> float:
    """F1 of the words that an answer shares with the reference, 0 to 1.

    Source: the measure of SQuAD, Rajpurkar et al. 2016, arXiv:1606.05250.
    """
    ours, theirs = _words(answer), _words(reference)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def is_exact(answer: str, reference: str) -> bool:
    """Whether both are the same words in the same order; case and punctuation do not count."""
    return _words(answer) == _words(reference) != []


def measure_rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest run of words that both have in the same order, gaps allowed, 0 to 1.

    Source: ROUGE-L, Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", with
    precision and recall of equal weight.
    """
    ours, theirs = _words(answer), _words(reference)
    common = _measure_common(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def stands_in(answer: str, text: str) -> bool:
    """Whether the words of an answer stand in a text, in order and without a gap."""
    words = _words(answer)
    return bool(words) and f" {' '.join(words)} " in f" {' '.join(_words(text))} "


def _measure_common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Length of the longest common subsequence, one row of the table at a time."""
    row = [0] * (len(theirs) + 1)
    for word in ours:
        diagonal = 0
        for place, other in enumerate(theirs, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
