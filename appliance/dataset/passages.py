"""Passages: the text of a unit in pieces that fit, each with its headings in front.

Blocks are packed in order. A passage starts at a heading where it can; a heading goes with the text
below it, a row of a table with the header above it. What is put in front is text repeated, and is
counted as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenizers import Encoding

from appliance.dataset.blocks import Block
from appliance.dataset.tokenizer import TextTokenizer

_HALF = 0.5
"""Fill from which a heading starts a new passage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A piece of a document.

    Attributes:
        lead: heading path and table header, repeated from elsewhere in the document.
        body: its own text.
        num_tokens: tokens of the document that the body holds, as its blocks count them.
        encoding: of the text as the model reads it, without the start token.
        num_lead_tokens: tokens of the lead.
        start: first character of the blocks it was cut from.
        end: the character after them.
    """

    lead: str
    body: str
    num_tokens: int
    encoding: Encoding
    num_lead_tokens: int
    start: int = 0
    end: int = 0

    @property
    def text(self) -> str:
        """What the model reads."""
        return self.lead + self.body


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageList:
    """Passages of a unit, and the tokens of headings that nothing stands below."""

    passages: tuple[Passage, ...]
    num_dropped: int


def make_passages(
    text: str, blocks: Sequence[Block], tokenizer: TextTokenizer, max_tokens: int
) -> PassageList:
    """Pack blocks into passages.

    Args:
        text: of the document.
        blocks: of one unit, in order; gaps between them are kept apart.
        tokenizer: of the base.
        max_tokens: of a passage, lead included, start token excluded.
    """
    costs = _count_leads(blocks, tokenizer)
    groups, num_dropped = _pack(blocks, costs, max_tokens)
    pending = [(_make_lead(group[0], costs, max_tokens), group) for group in groups]
    passages: list[Passage] = []
    texts = [_assemble(text, lead, group) for lead, group in pending]
    for (lead, group), encoding in zip(pending, tokenizer.encode(texts), strict=True):
        num_tokens = sum(block.num_tokens for block in group)
        body = _slice(text, group)
        start, end = group[0].start, group[-1].end
        fitted = _fit(lead, body, num_tokens, encoding, tokenizer, max_tokens)
        passages += [replace(passage, start=start, end=end) for passage in fitted]
    return PassageList(passages=tuple(passages), num_dropped=num_dropped)


def format_path(path: Sequence[str]) -> str:
    """`Travel policy > Hotels`."""
    return " > ".join(path)


def _count_leads(blocks: Sequence[Block], tokenizer: TextTokenizer) -> dict[str, int]:
    leads = sorted({_write_lead(block, with_path) for block in blocks for with_path in (0, 1)})
    return dict(zip(leads, tokenizer.count(leads), strict=True))


def _write_lead(block: Block, with_path: int) -> str:
    path = f"{format_path(block.path)}\n\n" if with_path and block.path else ""
    return path + (f"{block.header}\n" if block.header else "")


def _make_lead(block: Block, costs: dict[str, int], max_tokens: int) -> str:
    """Path and table header; the path goes if both take more than a quarter of the passage."""
    for with_path in (1, 0):
        lead = _write_lead(block, with_path)
        if costs[lead] <= max_tokens // 4:
            return lead
    return ""


def _pack(
    blocks: Sequence[Block], costs: dict[str, int], max_tokens: int
) -> tuple[list[list[Block]], int]:
    """Groups of neighbouring blocks, and the tokens of headings without text below them."""
    groups: list[list[Block]] = []
    current: list[Block] = []
    num_dropped = 0

    def size() -> int:
        lead = costs[_make_lead(current[0], costs, max_tokens)]
        return lead + sum(block.num_tokens for block in current)

    def close() -> list[Block]:
        headings: list[Block] = []
        while current and current[-1].kind == "heading":
            headings.insert(0, current.pop())
        if current:
            groups.append(current)
        return headings

    for block in blocks:
        if current and current[-1].end != block.start:
            num_dropped += sum(heading.num_tokens for heading in close())
            current = []
        if current and _starts_new(current, size(), block, max_tokens):
            current = close()
        current.append(block)
    num_dropped += sum(heading.num_tokens for heading in close())
    return groups, num_dropped


def _starts_new(current: list[Block], size: int, block: Block, max_tokens: int) -> bool:
    if all(other.kind == "heading" for other in current):
        return False
    if size + block.num_tokens > max_tokens:
        return True
    return block.kind == "heading" and size >= _HALF * max_tokens


def _slice(text: str, group: Sequence[Block]) -> str:
    return text[group[0].start : group[-1].end].strip("\n")


def _assemble(text: str, lead: str, group: Sequence[Block]) -> str:
    return lead + _slice(text, group)


def _fit(
    lead: str,
    body: str,
    num_tokens: int,
    encoding: Encoding,
    tokenizer: TextTokenizer,
    max_tokens: int,
) -> list[Passage]:
    """One passage, or several where cut edges or a long heading made it longer than allowed."""
    if len(encoding.ids) <= max_tokens:
        num_lead_tokens = sum(1 for start, _ in encoding.offsets if start < len(lead))
        return [
            Passage(
                lead=lead,
                body=body,
                num_tokens=num_tokens,
                encoding=encoding,
                num_lead_tokens=num_lead_tokens,
            )
        ]
    pieces = [body] if lead else _halve(body)
    lengths = [len(piece) for piece in pieces]
    shares = [num_tokens * length // max(1, sum(lengths)) for length in lengths]
    shares[-1] += num_tokens - sum(shares)
    fitted: list[Passage] = []
    for piece, share, encoded in zip(pieces, shares, tokenizer.encode(pieces), strict=True):
        fitted += _fit("", piece, share, encoded, tokenizer, max_tokens)
    return fitted


def _halve(body: str) -> list[str]:
    """Two halves, cut at a line, a sentence or a word near the middle."""
    middle = len(body) // 2
    for border in ("\n", ". ", " "):
        cut = body.rfind(border, len(body) // 4, middle)
        if cut > 0:
            return [body[: cut + len(border)], body[cut + len(border) :]]
    return [body[:middle], body[middle:]]
