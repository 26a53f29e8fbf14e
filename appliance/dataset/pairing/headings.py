"""Questions made of headings: "What does <title> say about <heading>?"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.dataset.pairing.drafts import Draft, Page, Section, draft_section
from appliance.dataset.pairing.words import find_content, read_set, starts_with_task

_SAYS_NOTHING = read_set(
    "introduction overview contents references resources summary example examples note notes "
    "other more general miscellaneous index readme home about links appendix footnotes credits "
    "conclusion background untitled questions"
) | {
    "table of contents",
    "see also",
    "read more",
    "further reading",
    "more information",
    "learning objectives",
    "key terms",
}
_IS_SENTENCE = re.compile(
    r"\b(?:i|you|we|they|it|is|are|was|were|do|don't|does|can|can't|should|must|will|be|has|have)\b"
    r"|[.!?:;]|\bhow to\b|^(?:chapter|part|step|phase) \w+$",
    re.I,
)
_FILE_NAME = re.compile(r"\w\.[a-z]{2,4}$", re.I)
_MAX_WORDS = 8
"""A longer heading is a sentence, and is quoted rather than built into one."""


def find_headings(page: Page) -> Iterator[Draft]:
    """A draft for every heading that names something, answered by its section."""
    for section in page.sections:
        question = _ask(page, section)
        if question and not section.heading.endswith("?"):
            yield draft_section(page, section, question)


def names_something(heading: str, title: str) -> bool:
    """Whether a heading tells what its section is about, beyond the title of the document."""
    plain = heading.strip(":. ").casefold()
    if _FILE_NAME.search(heading):
        return False
    same = plain == title.strip(":. ").casefold()
    return len(plain) > 2 and not same and plain not in _SAYS_NOTHING


def is_subject(heading: str, title: str) -> bool:
    """Whether a heading can stand behind "about" as it is."""
    is_short = len(heading.split()) <= _MAX_WORDS
    is_said = bool(_IS_SENTENCE.search(heading)) or starts_with_task(heading)
    return is_short and names_something(heading, title) and not is_said


def _ask(page: Page, section: Section) -> str:
    heading = section.heading.rstrip(":. ")
    if not names_something(page.title, "") or not names_something(heading, page.title):
        return ""
    above = _find_parent(page, section)
    subject = f"{page.title}, {above}," if above else page.title
    if is_subject(heading, page.title):
        return f"What does {subject} say about {page.soften(heading)}?"
    return f'What does {subject} say under "{heading}"?'


def _find_parent(page: Page, section: Section) -> str:
    """The heading above, where a heading of one word would be asked without its subject."""
    title = page.title.casefold()
    parents = [name for name in section.parents if name.casefold() != title]
    if len(find_content(section.heading)) > 1 or not parents:
        return ""
    return parents[-1].rstrip(":.? ") if names_something(parents[-1], page.title) else ""
