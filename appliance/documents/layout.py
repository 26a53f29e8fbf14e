"""How lines make blocks: headings, lists, tables, and paragraphs that were wrapped by hand."""

from __future__ import annotations

import re

_HEADING = re.compile(r"^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_TIGHT_HEADING = re.compile(r"^(#{1,6})([^\W\d_].*?)\s*#*\s*$")
_SETEXT = re.compile(r"^\s{0,3}(=+|-{2,})\s*$")
_RULE = re.compile(r"^\s{0,3}([-*_])(\s*\1){2,}\s*$|^\s*[=~+]{4,}\s*$|^[*#\-|\\\s]+$")
_ITEM = re.compile(r"^(\s*)([-*+]|\d{1,3}[.)]|[a-zA-Z][.)])\s+(.*)$")
_TABLE_RULE = re.compile(r"^\s*(?:\|\s*)?(?::?-+:?\s*\|\s*)+:?-*:?\s*$")
_LABEL = re.compile(r"^(Q|A|Question|Answer|[A-Z][\w /-]{1,24}):(\s|$)")
_OPEN_MARKUP = re.compile(r"\[[^\[\]]*$|</?[a-zA-Z][^<>]*$")
_WRAPPED_WIDTH = 48
"""A line at least this long, followed by another, was wrapped by hand. Shorter ones are addresses,
signatures and forms, whose lines mean something."""


def arrange_lines(lines: list[str], widths: list[int]) -> list[str]:
    """Lines of prose as regular markdown, paragraphs on one line each.

    Args:
        lines: without inline markup.
        widths: of the same lines before it was taken out, which tells whether they were wrapped.
    """
    arranged: list[str] = []
    width_before = 0
    for line, width in zip(lines, widths, strict=True):
        kind, text = _read_line(line, arranged)
        if kind == "blank":
            if arranged and arranged[-1]:
                arranged.append("")
        elif kind == "heading":
            arranged += ["", text, ""] if arranged and arranged[-1] else [text, ""]
        elif kind == "text" and _continues(arranged, line, text, width_before):
            arranged[-1] = _join(arranged[-1], text)
        elif kind != "drop":
            _space_out(arranged, kind)
            arranged.append(text)
        width_before = width
    return _drop_repeats(arranged)


def _space_out(arranged: list[str], kind: str) -> None:
    """Loose lists become tight ones, which say the same; tables stand apart from text."""
    before = arranged[-1] if arranged else ""
    if kind == "item" and not before and len(arranged) > 1 and _ITEM.match(arranged[-2]):
        arranged.pop()
    if kind == "row" and before and not _is_row(before):
        arranged.append("")


def _read_line(line: str, before: list[str]) -> tuple[str, str]:
    """What a line is, and how it is written. A setext underline changes the line before."""
    line = re.sub(r"^\s{0,3}(>\s?)+", "", line.replace("\t", "    "))
    if not line.strip():
        return "blank", ""
    heading = _HEADING.match(line) or _tight_heading(line, before)
    if heading:
        title = " ".join(heading[2].split()).strip("#* ")
        return ("heading", f"{heading[1]} {title}") if title else ("drop", "")
    if _TABLE_RULE.match(line) and before and _is_row(before[-1]):
        return "row", "|" + " --- |" * (before[-1].count("|") - 1)
    underline = _SETEXT.match(line)
    if underline and before and _can_be_title(before[-1]):
        before[-1] = f"{'#' if underline[1][0] == '=' else '##'} {before[-1]}"
        return "blank", ""
    if _RULE.match(line):
        return "blank", ""
    if _is_row(line):
        return _read_row(line)
    item = _ITEM.match(line)
    if item:
        return _read_item(item)
    return "text", " ".join(line.split())


def _tight_heading(line: str, before: list[str]) -> re.Match[str] | None:
    """`##Equity` is meant as a heading, `#1 priority` and `#hashtag` in running text are not."""
    if before and before[-1] and not line.startswith("##"):
        return None
    match = _TIGHT_HEADING.match(line)
    return (
        match if match and len(line) < 100 and not line.rstrip().endswith((".", ",", ";")) else None
    )


def _can_be_title(line: str) -> bool:
    return bool(line) and len(line) < 100 and not line.startswith(("#", "|", "- "))


def _read_row(line: str) -> tuple[str, str]:
    cells = [" ".join(cell.split()) for cell in line.strip().strip("|").split("|")]
    if not any(cells):
        return "drop", ""
    return "row", "| " + " | ".join(cells) + " |"


def _read_item(item: re.Match[str]) -> tuple[str, str]:
    """List items keep their number and, roughly, their depth."""
    mark = "-" if item[2] in "-*+" else item[2]
    text = re.sub(r"^\[[ xX]\]\s+", "", " ".join(item[3].split()))
    numbered = re.match(r"(\d{1,3}[.)])\s+(\S.*)", text)
    if mark == "-" and numbered:  # what converters make of a numbered list
        mark, text = numbered[1], numbered[2]
    if not text:
        return "drop", ""
    depth = min(len(item[1]), 12) // 2
    return "item", f"{'  ' * min(depth, 3)}{mark} {text}"


def _continues(arranged: list[str], line: str, text: str, width_before: int) -> bool:
    """Whether a line goes on with the paragraph or list item before it."""
    before = arranged[-1] if arranged else ""
    if not before or before.startswith("#") or _is_row(before):
        return False
    if _OPEN_MARKUP.search(before[-1000:]):
        return True
    if _LABEL.match(text):
        return False
    is_indented = bool(_ITEM.match(before)) and line.startswith("  ")
    return is_indented or width_before >= _WRAPPED_WIDTH or text[:1].islower()


def _join(before: str, text: str) -> str:
    """Two halves of a wrapped line; a word that was hyphenated at the break is one again."""
    if re.search(r"[a-z]{2}-$", before) and text[:1].islower():
        return before[:-1] + text
    return f"{before} {text}"


def _is_row(line: str) -> bool:
    line = line.strip()
    return line.startswith("|") and line.endswith("|") and line.count("|") > 2


def _drop_repeats(lines: list[str]) -> list[str]:
    """A line that stands twice in a row is a slip of a converter."""
    kept: list[str] = []
    for line in lines:
        if line and kept and line == kept[-1] and not _is_row(line):
            continue
        if not line and (not kept or not kept[-1]):
            continue
        kept.append(line)
    return kept
