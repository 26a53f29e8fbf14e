"""Terms and what they mean: entries of glossaries, and sentences that define.

Masked markup is gone when a document comes here: `**Term**: …` reads `Term: …`. So an entry counts
only below a heading that promises terms; a sentence only if it says "means" or "is a".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.dataset.blocks import Block
from appliance.dataset.pairing.drafts import Draft, Page, Section
from appliance.dataset.pairing.words import find_content, is_name, read_set

_GLOSSARY = re.compile(
    r"\b(?:glossary|glossaries|definitions?|terms|terminology|acronyms?|abbreviations?|jargon"
    r"|vocabulary|key words)\b",
    re.I,
)
_ENTRY = re.compile(
    r"^(?:- |\* )?(?P<term>[^\s:.;?!][^:.;?!\n]{1,60}?)(?:: | [-–—] |\. )(?P<text>\S)"
)
_MEANS = re.compile(
    r'^(?P<term>"[^"]{2,50}"|[A-Z][\w-]*(?: [\w-]+){0,3}) '
    r"(?:means|is defined as|are defined as|stands for) \S"
)
_IS = re.compile(
    r"^(?P<term>An? [a-zA-Z-]{3,}(?: [a-zA-Z-]{3,}){0,2}|(?:The )?[A-Z][\w-]*[a-z0-9]"
    r"(?: [A-Z0-9][\w-]*){0,3}) (?:is|are) an? [a-z]"
)
_SENTENCE = re.compile(r"^.+?[.!?](?=\s|$)", re.S)
_NO_TERM = read_set(
    "this that these those it which what who where when here there they we you he she all another "
    "each some any one everyone nothing everything something other"
)
_MAX_TERM_WORDS = 6
_MIN_WORDS = 4
_MIN_SENTENCE_WORDS = 9


def find_definitions(page: Page) -> Iterator[Draft]:
    """Drafts for the entries of glossaries and for sentences that define."""
    for section in page.sections:
        in_glossary = _promises_terms(page, section)
        for block in section.body:
            if block.kind == "text":
                yield from (_read_entry if in_glossary else _read_sentence)(page, block)


def _promises_terms(page: Page, section: Section) -> bool:
    names = (section.heading, *section.parents, page.title)
    return any(_GLOSSARY.search(name) and len(name.split()) <= _MAX_TERM_WORDS for name in names)


def _read_entry(page: Page, block: Block) -> Iterator[Draft]:
    text = page.text[block.start : block.end].strip()
    found = _ENTRY.match(text)
    if not found or text.endswith(":"):
        return
    term, meaning = found["term"].strip("*_ "), text[found.start("text") :]
    if not _is_term(term) or len(meaning.split()) < _MIN_WORDS:
        return
    yield _draft(block, f'What is meant by "{term}"?', meaning)


def _read_sentence(page: Page, block: Block) -> Iterator[Draft]:
    """The first sentence of a paragraph, if it defines its first words."""
    text = page.text[block.start : block.end].strip()
    first = _SENTENCE.match(text)
    if not first or len(first[0].split()) < _MIN_SENTENCE_WORDS or "\n" in first[0]:
        return
    means, is_a = _MEANS.match(first[0]), _IS.match(first[0])
    if means and (means["term"][0] == '"' or _names(means["term"])):
        term = means["term"].strip('"')
        yield _draft(block, f'What is meant by "{term}"?', first[0])
    elif is_a and _names(is_a["term"]):
        article, _, rest = is_a["term"].partition(" ")
        small = article.lower() if article in ("A", "An", "The") and rest else article
        yield _draft(block, f"What is {f'{small} {rest}'.strip()}?", first[0])


def _is_term(term: str) -> bool:
    words = term.strip('"').split()
    is_short = 0 < len(words) <= _MAX_TERM_WORDS
    return is_short and words[0].lower() not in _NO_TERM and bool(find_content(term))


def _names(term: str) -> bool:
    """Whether the words before a verb are a name and nothing else: no "here", no "that"."""
    words = term.strip('"').removeprefix("A ").removeprefix("An ").removeprefix("The ")
    return _is_term(term) and is_name(words)


def _draft(block: Block, question: str, answer: str) -> Draft:
    return Draft(question=question, answer=answer, start=block.start, end=block.end)
