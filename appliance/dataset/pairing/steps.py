"""How-to sections: a heading with numbered steps below it.

"How do I …?" is asked only of a heading that says what to do: "How to …", an imperative or a
gerund of a verb that procedures are written with. Other sections with steps are left to their
headings, as a list of numbers may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.dataset.blocks import Block
from appliance.dataset.pairing.drafts import Draft, Page, Section, draft_section
from appliance.dataset.pairing.headings import names_something
from appliance.dataset.pairing.words import TASK_VERBS, read_set

_STEP = re.compile(r"^\s*(\d{1,2})[.)]\s+\S")
_HOW_TO = re.compile(r"^how to\s+", re.I)
_NO_OBJECT = read_set("of and or for with by at in to from")
_PARTICLES = read_set("up down out off on over back away in")
_GERUNDS = {
    form: verb
    for verb in TASK_VERBS
    for form in (f"{verb}ing", f"{verb.removesuffix('e')}ing", f"{verb}{verb[-1]}ing")
}


def find_steps(page: Page) -> Iterator[Draft]:
    """A draft for every section of numbered steps below a task."""
    for section in page.sections:
        heading = section.heading.rstrip(":. ")
        question = _ask(heading)
        if question and names_something(heading, page.title) and has_steps(page, section):
            yield draft_section(page, section, question)


def has_steps(page: Page, section: Section) -> bool:
    """Whether a section counts 1, 2 and so on, and ends with a step."""
    numbers = [_read_number(page, block) for block in section.body]
    counted = [number for number in numbers if number]
    return len(counted) > 1 and counted == list(range(1, len(counted) + 1)) and bool(numbers[-1])


def _read_number(page: Page, block: Block) -> int:
    found = _STEP.match(page.text[block.start : block.end])
    return int(found[1]) if found else 0


def _ask(heading: str) -> str:
    """The question of a heading that names a task; none of another one."""
    task = _HOW_TO.sub("", heading)
    first, *rest = task.split(" ")
    verb = _GERUNDS.get(first.lower(), first.lower())
    if task != heading:
        return f"How do I {task[:1].lower() + task[1:]}?"
    object_words = rest[1:] if rest and rest[0].lower() in _PARTICLES else rest
    names_object = bool(object_words) and object_words[0].lower() not in _NO_OBJECT
    return f"How do I {' '.join([verb, *rest])}?" if verb in TASK_VERBS and names_object else ""
