"""Facts with a gap: a sentence without its number, and the number as the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.dataset.pairing.drafts import Draft, Page

_SENTENCE = re.compile(r"[A-Z][^.!?\n]{40,240}\.(?=\s|$)")
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w-]|[.,]\d)")


def find_cloze(page: Page) -> Iterator[Draft]:
    """A draft for every sentence that holds exactly one number."""
    for section in page.sections:
        for block in section.body:
            if block.kind != "text":
                continue
            for sentence in _SENTENCE.finditer(page.text, block.start, block.end):
                numbers = list(_NUMBER.finditer(sentence[0]))
                if len(numbers) != 1:
                    continue
                (number,) = numbers
                gap = f"{sentence[0][: number.start()]}____{sentence[0][number.end() :]}"
                yield Draft(
                    question=f"{page.title}: which number is missing? {gap}",
                    answer=number[0],
                    start=sentence.start(),
                    end=sentence.end(),
                )
