"""Cleaning: what readers return becomes plain, regular markdown that is worth learning.

Gone: front matter, template shortcodes, comments, tags, emphasis, images, link targets, hard line
breaks, odd characters. Kept: words, headings, lists, tables (one row a line), code.
What stands inside a line is `inline.py`, how lines make blocks is `layout.py`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from appliance.documents.inline import clean_inline
from appliance.documents.layout import arrange_lines
from appliance.documents.readers.html import convert_fragment

_Span = tuple[re.Pattern[str], re.Pattern[str]]
"""How something begins, and how it ends."""

_FENCE = re.compile(r"^\s{0,3}(```+|~~~+)")
_FRONT_MATTER = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\n(.*?)\n\1[ \t]*(?:\n|\Z)", re.S)
_FRONT_TITLE = re.compile(r"^title\s*[:=]\s*[\"']?(.+?)[\"']?\s*$", re.M | re.I)
_COMMENT = (re.compile("<!--"), re.compile("-->"))
_SCRIPT = (re.compile(r"<script\b[^<>]*>", re.I), re.compile(r"</script\s*>", re.I))
_STYLE = (re.compile(r"<style\b[^<>]*>", re.I), re.compile(r"</style\s*>", re.I))
_TABLE = (re.compile(r"<table\b", re.I), re.compile(r"</table\s*>", re.I))
_TEMPLATE_COMMENT = (
    re.compile(r"\{%-?\s*comment\s*-?%\}"),
    re.compile(r"\{%-?\s*endcomment\s*-?%\}"),
)
_SHORTCODES = (
    (re.compile(r"\{%"), re.compile(r"%\}")),
    (re.compile(r"\{\{"), re.compile(r"\}\}")),
)
_ARGUMENT = re.compile(r"^\{%-?\s*[\w-]+\s+[\"']([^\"'/.<>]+)[\"']")
_TITLE = re.compile(r"^# (.+)$", re.M)
_BLANKS = re.compile(r"\n{3,}")

_CHARACTERS = {
    "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'",
    "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u201f": '"', "\u2033": '"',
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": " - ",
    "\u2015": " - ", "\u2026": "...", "\u2022": "-", "\u00b7": "-", "\u25cf": "-",
    "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
    "\r": "\n", "\f": "\n", "\v": "\n", "\u0085": "\n", "\u2028": "\n", "\u2029": "\n\n",
    "\u00ad": "", "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "",
    "\ufffd": "", "\ufffc": "",
}  # fmt: skip
_ODD = re.compile(f"[{''.join(_CHARACTERS)}]")
"""Ten times as fast as `str.translate` on text that is not ASCII, for few are ever found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanText:
    """Clean markdown, and the title that the document gives itself (empty if it gives none)."""

    title: str
    text: str


def clean_text(raw: str) -> CleanText:
    """Clean the text of a document."""
    text = normalise_characters(raw)
    text, title = _take_front_matter(text)
    parts = [
        part if is_code else _clean_prose(part) for is_code, part in _split_code(text.split("\n"))
    ]
    text = _BLANKS.sub("\n\n", "\n\n".join(part.strip("\n") for part in parts if part.strip()))
    heading = _TITLE.search(text)
    if not title and heading:
        title = heading[1]
    return CleanText(title=" ".join(clean_inline(title).split()), text=text.strip())


def clean_turn(raw: str) -> str:
    """Clean a turn of a conversation: odd characters and tags go, its lines stay as they are."""
    text = _drop_spans(normalise_characters(raw), _COMMENT)
    lines = [" ".join(clean_inline(line).split()) for line in text.split("\n")]
    return _BLANKS.sub("\n\n", "\n".join(lines)).strip()


def normalise_characters(text: str) -> str:
    """NFC; typewriter quotes and dashes; one kind of line break and of space; no control codes.

    Typewriter quotes because models spend three tokens on a curly one and learn both spellings of
    every word; the embedded base has never seen curly ones.
    """
    text = _ODD.sub(lambda found: _CHARACTERS[found[0]], text.replace("\r\n", "\n"))
    text = unicodedata.normalize("NFC", text)
    if text.isascii() and text.isprintable():
        return text
    return re.sub(
        r"[^\S\n\t ]",
        " ",
        re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ue000-\uf8ff]", "", text),
    )


def _take_front_matter(text: str) -> tuple[str, str]:
    """The text below the front matter, and the title from it."""
    match = _FRONT_MATTER.match(text)
    if not match or not re.search(r"^[\w-]+\s*[:=]", match[2], re.M):
        return text, ""
    title = _FRONT_TITLE.search(match[2])
    return text[match.end() :], title[1] if title else ""


def _split_code(lines: list[str]) -> list[tuple[bool, str]]:
    """Runs of prose and fenced code, in order; a fence that never closes is prose."""
    runs: list[tuple[bool, str]] = []
    start = position = 0
    while position < len(lines):
        fence = _FENCE.match(lines[position])
        end = _find_fence_end(lines, position, fence[1]) if fence else None
        if end is None:
            position += 1
            continue
        runs.append((False, "\n".join(lines[start:position])))
        runs.append((True, "\n".join(lines[position : end + 1])))
        start = position = end + 1
    runs.append((False, "\n".join(lines[start:])))
    return runs


def _find_fence_end(lines: list[str], start: int, fence: str) -> int | None:
    for number in range(start + 1, min(len(lines), start + 2_000)):
        if lines[number].strip().startswith(fence) and not lines[number].strip().strip(fence[0]):
            return number
    return None


def _clean_prose(text: str) -> str:
    for kind in (_COMMENT, _TEMPLATE_COMMENT, _SCRIPT, _STYLE):
        text = _drop_spans(text, kind)
    for kind in _SHORTCODES:
        text = _replace_spans(text, kind, _show_shortcode)
    text = _replace_spans(text, _TABLE, lambda t, i, j: f"\n\n{convert_fragment(t[i:j])}\n\n")
    if "&" in text:
        text = normalise_characters(html.unescape(text))
    raw = text.split("\n")
    lines = arrange_lines([clean_inline(line) for line in raw], [len(line) for line in raw])
    # once more: what was broken over two lines, or escaped, shows only now
    return "\n".join(clean_inline(line) for line in lines)


def _drop_spans(text: str, kind: _Span) -> str:
    return _replace_spans(text, kind, lambda *_: "")


def _replace_spans(text: str, kind: _Span, replace: Callable[[str, int, int], str]) -> str:
    """Replace what stands between an opening and the next closing.

    One expression for both would search the rest of the text again from every opening: a file of
    nothing but openings then takes hours.
    """
    opening, closing = kind
    parts: list[str] = []
    done = 0
    while start := opening.search(text, done):
        end = closing.search(text, start.end())
        if end is None:
            break
        parts += [text[done : start.start()], replace(text, start.start(), end.end())]
        done = end.end()
    return "".join([*parts, text[done:]])


def _show_shortcode(text: str, start: int, end: int) -> str:
    """What a template would show, if its tag says so: a plain word as argument of an inline tag.

    `post it in {% channel "people" %} today` keeps `people`; images and pages name paths.
    """
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    around = text[line_start:start] + text[end : line_end if line_end >= 0 else len(text)]
    argument = _ARGUMENT.match(text[start:end])
    is_inline = bool(re.search(r"\w", around)) and text[max(0, start - 1) : start] != "("
    return argument[1] if argument and is_inline else ""
