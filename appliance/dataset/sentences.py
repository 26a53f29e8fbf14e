"""Texts cut where a sentence ends."""

from __future__ import annotations

import re

from appliance.dataset.tokenizer import TextTokenizer

_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s|$)")


def cut_at_sentence(text: str, tokenizer: TextTokenizer, max_tokens: int) -> str:
    """The longest beginning of a text that ends with a paragraph or sentence and fits."""
    (encoding,) = tokenizer.encode([text])
    if len(encoding.ids) <= max_tokens:
        return text
    room = encoding.offsets[max_tokens][0] if max_tokens > 0 else 0
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, room + 1)]
    ends += [match.start() for match in re.finditer(r"\n", text[:room])]
    usable = [end for end in ends if end <= room]
    return text[: max(usable)].rstrip() if usable else ""
