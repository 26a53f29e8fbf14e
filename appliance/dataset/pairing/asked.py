"""Questions that the document asks itself: headings with a question mark, and `Q:` paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from appliance.dataset.pairing.drafts import QUESTION_MARK, Draft, Page, Section, draft_section
from appliance.dataset.pairing.words import points_elsewhere

_ASKS = re.compile(
    r"\b(?:what|how|when|where|who|whom|whose|which|why|can|could|do|does|did|is|are|was|were|will"
    r"|would|should|shall|may|must|have|has|am)\b",
    re.I,
)
"""Without one of these a question mark stands behind an offer: "Questions?", "Need help?"."""
_LEADING_MARK = re.compile(r"\A(?:A|Answer)\s*:\s*", re.I)
_ANSWER_MARK = re.compile(r"^(?:A|Answer)\s*\d{0,3}\s*[:.)]\s*", re.I | re.M)


def find_asked(page: Page) -> Iterator[Draft]:
    """Drafts of the questions of a page, with what stands below them."""
    for section in page.sections:
        if section.heading.endswith("?") and _ASKS.search(section.heading):
            draft = draft_section(page, section, _place(section.heading, section, page))
            yield replace(draft, answer=_LEADING_MARK.sub("", draft.answer))
        elif not section.heading:
            yield from _read_marks(page, section)


def _place(question: str, section: Section, page: Page) -> str:
    """The question, with the heading above it where it is about nothing by itself.

    A question of a single sentence that names its subject is left as it was asked.
    """
    above = section.parents[-1] if section.parents else page.title
    return f"{above}: {question}" if above and points_elsewhere(question) else question


def _read_marks(page: Page, section: Section) -> Iterator[Draft]:
    """`Q: … A: …`, in one paragraph or several."""
    whole = page.read(section.blocks)
    split = _ANSWER_MARK.search(whole)
    if QUESTION_MARK.match(whole) and split is not None:
        yield Draft(
            question=" ".join(QUESTION_MARK.sub("", whole[: split.start()]).split()),
            answer=whole[split.end() :].strip(),
            start=section.blocks[0].start,
            end=section.blocks[-1].end,
            blocks=section.blocks,
        )
