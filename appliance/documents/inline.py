"""What stands inside a line of markdown: links, images, tags, emphasis, escapes."""

from __future__ import annotations

import re

_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
_LINK = re.compile(r"\[((?:[^\[\]]|\\.|\[[^\[\]]*\])*)\]\((?:[^()\\]|\\.|\([^()]*\))*\)")
_EMPTY_LINK = re.compile(r"\[([^\[\]]*)\]\(\s*\)")
_REFERENCE_LINK = re.compile(r"\[([^\[\]]+)\]\[[^\[\]]*\]")
_DEFINITION = re.compile(r"^\s{0,3}\[[^\]^]+\]:\s+\S+.*$")
_FOOTNOTE = re.compile(r"\[\^[^\]\s]+\]:?")
_AUTOLINK = re.compile(r"<((?:https?|mailto|ftp):[^<>\s]+|[\w.+-]+@[\w.-]+)>")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.I)
_TAG_NAMES = (
    "a abbr address article aside audio b big blockquote body br button caption center cite code"
    " col colgroup dd del details dfn div dl dt em embed fieldset figcaption figure font footer"
    " form h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins kbd label legend li link"
    " main mark meta nav noscript object ol optgroup option p param picture pre q s samp section"
    " select small source span strike strong style sub summary sup svg table tbody td template"
    " textarea tfoot th thead time title tr tt u ul var video wbr path use"
)
_TAG = re.compile(
    rf"</?(?:{'|'.join(sorted(_TAG_NAMES.split(), key=len, reverse=True))}|[a-z]+-[a-z-]+)"
    r"(?:\s[^<>]{0,1000})?/?>",
    re.I,
)
"""Names that HTML knows, and custom elements; `<GROUP NAME>` and `<name>` are words to fill in."""
_ATTRIBUTES = re.compile(r"\{[:#.][^{}\n]{0,200}\}")
_STRONG = re.compile(r"(\*\*\*|\*\*|~~)(?=\S)(.+?)(?<=\S)\1")
_STRONG_LOW = re.compile(r"(?<![\w_])(___|__)(?=[^\s_])(.+?)(?<=[^\s_])\1(?![\w_])")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])")
_EMPHASIS_LOW = re.compile(r"(?<![\w_/])_(?=[^\s_])([^_\n]+?)(?<=[^\s_])_(?![\w_])")
_CODE = re.compile(r"(?<!`)(`{1,20})(?!`)(.{1,2000}?)(?<!`)\1(?!`)")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_STRAY_STARS = re.compile(r"\*{2,}")
_BLOB = re.compile(r"(?:data:[\w/+.-]+;base64,)?[A-Za-z0-9+/]{400,}={0,2}")
_LEADERS = re.compile(r"(?:\.\s?){5,}|_{4,}|-{6,}|…{3,}")


def clean_inline(line: str) -> str:
    """A line without markup: the words stay, what they were wrapped in goes."""
    if len(line) > 400:
        line = _BLOB.sub("", line)
    if "[" in line:
        line = _strip_links(line)
    if "<" in line:
        line = _TAG.sub("", _LINE_BREAK.sub(" ", _AUTOLINK.sub(r"\1", line)))
    if "{" in line:
        line = _ATTRIBUTES.sub("", line)
    if "*" in line or "~~" in line:
        line = _EMPHASIS.sub(r"\1", _STRONG.sub(r"\2", _STRONG.sub(r"\2", line)))
        line = _STRAY_STARS.sub("", line) if line.strip("* ") else line
    if "_" in line:
        line = _EMPHASIS_LOW.sub(r"\1", _STRONG_LOW.sub(r"\2", line))
    if "`" in line:
        line = _CODE.sub(r"\2", line)
    if "\\" in line:
        line = _EMPTY_LINK.sub(r"\1", _ESCAPE.sub(r"\1", line).rstrip("\\"))
    return _shorten_leaders(line)


def _strip_links(line: str) -> str:
    if _DEFINITION.match(line):
        return ""
    line = _LINK.sub(r"\1", _IMAGE.sub("", line))
    line = _LINK.sub(r"\1", line)  # an image inside a link is gone by now
    return _FOOTNOTE.sub("", _REFERENCE_LINK.sub(r"\1", line))


def _shorten_leaders(line: str) -> str:
    """Dots of a table of contents and lines to write on say nothing at any length."""
    if "...." not in line and ". . ." not in line and "____" not in line and "------" not in line:
        return line
    if line.lstrip().startswith(("|", "-----")):
        return line
    return _LEADERS.sub(lambda match: "___" if match[0][0] == "_" else " ", line)
