"""Words of a text as questions are checked by them: which carry content, and which are the same.

English. Of another language the frequent words count as content, which makes checks stricter and
pairs fewer, never wrong.
"""

from __future__ import annotations

import re


def read_set(words: str) -> frozenset[str]:
    """Words that are written with blanks between them."""
    return frozenset(words.split())


_WORD = re.compile(r"[^\W_]+(?:[-'.][^\W_]+)*")
_STOP = read_set(
    "a about above after again all also am an and any are as at be because been before being below "
    "between both but by can could did do does doing down during each few for from further get "
    "had has have having he her here hers him his how i if in into is it its itself just may me "
    "might more most must my no nor not of off on once one only or other our out over own per "
    "same say says she should so some such than that the their them then there these they this "
    "those through to too under until up us use used using very via was we were what when where "
    "which while who whom whose why will with within without would you your"
)
_POINTING = read_set("it its this that these those they them their here there such")
_ENDINGS = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ers", "er", "es", "ed", "s")
_MIN_STEM = 4
TASK_VERBS = read_set(
    "access activate add adjust apply approve archive arrange ask assign attach back book build "
    "buy calibrate call cancel change charge check choose clean clear close collect compare "
    "complete configure confirm connect contact copy correct create cut deactivate delete deliver "
    "deploy disable disconnect dispose document download edit enable enrol enter escalate "
    "exchange export file fill find fix flush format generate give handle hand hire import inform "
    "insert inspect install invite invoice issue join keep label launch leave lock log maintain "
    "make manage mark measure merge migrate mount move name open operate order organise organize "
    "pack pay plan plug prepare print process provide publish purchase record recover register "
    "release remove renew repair repeat replace report request reset resolve restart restore "
    "return review revoke rotate run save schedule scan select send set share ship shut sign "
    "start stop store submit switch take terminate test track train transfer travel turn unlock "
    "unmount update upgrade upload use validate verify view wash withdraw write"
)
"""Verbs that headings of procedures begin with."""


def list_words(text: str) -> list[str]:
    """Words and numbers of a text in lower case, in order."""
    return _WORD.findall(text.lower())


def find_content(text: str) -> list[str]:
    """Stems of the words that say something, in order; numbers as they are."""
    return [stem(word) for word in list_words(text) if word not in _STOP and len(word) > 1]


def stem(word: str) -> str:
    """A word without the ending that a plural, a gerund or a noun made of a verb has.

    Rough on purpose: words that are not the same may become so, and then a check that asks whether
    a word is absent says no more often than it need.
    """
    word = word.removesuffix("'s")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            word = word[: -len(ending)]
            break
    return word.rstrip("ey") if len(word) > _MIN_STEM else word


def points_elsewhere(question: str) -> bool:
    """Whether a question is about something that stands outside of it."""
    words = list_words(question)
    return not find_content(question) or any(word in _POINTING for word in words)


def starts_with_task(words: str) -> bool:
    """Whether words begin with a verb that procedures are written with, as an imperative."""
    return words.split(" ", 1)[0].lower() in TASK_VERBS


def is_name(words: str) -> bool:
    """Whether words are names and numbers and nothing else: no "here", no "that", no "of"."""
    return not any(word in _STOP for word in list_words(words))


def is_lower_case_in(word: str, text: str) -> bool:
    """Whether a text has a word in lower case, as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None
