"""What makers of pairs read and what they give: pages with their sections, and drafts.

A maker is a function from a page to drafts, in a file of its own; `find.py` names them all and
decides which of their drafts become pairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from appliance.dataset.blocks import Block
from appliance.dataset.pairing.words import is_lower_case_in

QUESTION_MARK = re.compile(r"^(?:Q|Question)\s*\d{0,3}\s*[:.)]\s*", re.I)
_NUMBERING = re.compile(r"^(?:\d{1,3}(?:\.\d{1,3})*[.)]?|[A-Z][.)])\s+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A run of blocks below one heading, or from one `Q:` to the next.

    Attributes:
        heading: without its numbering and marks; empty where the section has none.
        blocks: the heading, if there is one, and what stands below it.
    """

    heading: str
    blocks: tuple[Block, ...]

    @property
    def body(self) -> tuple[Block, ...]:
        """The blocks below the heading."""
        return self.blocks[1:] if self.heading else self.blocks

    @property
    def parents(self) -> tuple[str, ...]:
        """The headings above, outermost first; the title of the document may be the first."""
        return self.blocks[0].path


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The text of a unit, cut.

    Attributes:
        text: of the whole document.
        title: of the document.
        sections: of the unit, in order; a place belongs to one of them at most.
    """

    text: str
    title: str
    sections: tuple[Section, ...]

    def read(self, blocks: Sequence[Block]) -> str:
        """The text of neighbouring blocks."""
        return self.text[blocks[0].start : blocks[-1].end].strip()

    def soften(self, words: str) -> str:
        """Words as they read inside a sentence, if the document itself writes them small."""
        is_sentence_case = words[1:] == words[1:].lower()
        if is_sentence_case and is_lower_case_in(words.split(" ", 1)[0].lower(), self.text):
            return words[:1].lower() + words[1:]
        return words


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A question and its answer, before anyone looked whether it is of use.

    Attributes:
        question: as a person would ask it.
        answer: words of the document, or a sentence made from them.
        start: first character of what the answer is made from, in the document.
        end: the character after it.
        blocks: of a draft whose answer is a whole section, that section; else empty.
    """

    question: str
    answer: str
    start: int
    end: int
    blocks: tuple[Block, ...] = ()


Maker = Callable[[Page], Iterable[Draft]]


def make_page(text: str, title: str, blocks: Sequence[Block]) -> Page:
    """Cut the blocks of a unit into sections.

    Args:
        text: of the document.
        title: of the document.
        blocks: of the unit; gaps between them end a section.
    """
    return Page(text=text, title=title, sections=tuple(_cut_sections(text, blocks)))


def draft_section(page: Page, section: Section, question: str) -> Draft:
    """A draft whose answer is all that stands below a heading."""
    body = section.body
    return Draft(
        question=question,
        answer=page.read(body),
        start=body[0].start,
        end=body[-1].end,
        blocks=section.blocks,
    )


def _cut_sections(text: str, blocks: Sequence[Block]) -> Iterator[Section]:
    run: list[Block] = []
    for block in blocks:
        is_gap = bool(run) and run[-1].end != block.start
        if block.kind == "heading" or is_gap or QUESTION_MARK.match(text[block.start : block.end]):
            yield from _close(text, run)
            run = []
        run.append(block)
    yield from _close(text, run)


def _close(text: str, run: list[Block]) -> Iterator[Section]:
    """The section of a run; none where nothing stands below a heading."""
    if not run or (run[0].kind == "heading" and len(run) == 1):
        return
    heading = ""
    if run[0].kind == "heading":
        line = text[run[0].start : run[0].end].strip().lstrip("# ").strip()
        heading = _NUMBERING.sub("", line)
    yield Section(heading=heading, blocks=tuple(run))
