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
from appliance.dataset.pairing.words import read_set

_STEP = re.compile(r"^\s*(\d{1,2})[.)]\s+\S")
_HOW_TO = re.compile(r"^how to\s+", re.I)
_VERBS = read_set(
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
_NO_OBJECT = read_set("of and or for with by at in to from")
_PARTICLES = read_set("up down out off on over back away in")
_GERUNDS = {
    form: verb
    for verb in _VERBS
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
    return f"How do I {' '.join([verb, *rest])}?" if verb in _VERBS and names_object else ""
