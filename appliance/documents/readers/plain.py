"""Text, markdown and reStructuredText: the bytes are the text."""

from __future__ import annotations

import re
from pathlib import PurePath

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Extract, UnreadableFile

_DIRECTIVE = re.compile(r"^\.\. (\S+)::[ \t]*(.*)$")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_ROLE = re.compile(r":[a-z:]+:`([^`<]*?)\s*(?:<[^`>]*>)?`")
_REFERENCE = re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?")
_QUIET = {"image", "figure", "contents", "toctree", "include", "raw", "highlight", "meta", "index"}


_LEAST_SPACES = 1 / 40
"""Of characters, in anything people write with spaces; encoded data has hardly any."""


def read_plain(data: bytes, name: PurePath) -> Extract:
    """Text and markdown as they are."""
    return Extract(text=decode_text(data))


def read_restructured(data: bytes, name: PurePath) -> Extract:
    """ReStructuredText with its headings as markdown headings; directives that show nothing go."""
    lines = decode_text(data).splitlines()
    return Extract(text="\n".join(_mark_headings(_drop_directives(lines))))


def read_unknown(data: bytes, name: PurePath) -> Extract:
    """A file of a kind that nobody knows, if it is text: log, letter, notes of a program.

    Raises:
        UnreadableFile: the bytes are not text, or are data spelled in letters.
    """
    text = decode_text(data)
    if "\0" in text or len(text.split()) < _LEAST_SPACES * len(text):
        raise UnreadableFile("the content is data, not text", "export it as text or csv")
    return Extract(text=text, remark=f"files of type {name.suffix[:12]} are read as plain text")


READS = {
    **dict.fromkeys((".md", ".markdown", ".mdx", ".txt", ".text", ""), read_plain),
    ".rst": read_restructured,
}


def _drop_directives(lines: list[str]) -> list[str]:
    kept: list[str] = []
    inside_quiet = False
    for line in lines:
        if inside_quiet and (not line.strip() or line.startswith((" ", "\t"))):
            continue
        inside_quiet = False
        directive = _DIRECTIVE.match(line)
        if directive and directive[1] in _QUIET:
            inside_quiet = True
        elif directive:
            kept += [f"{directive[1].capitalize()}: {directive[2]}".rstrip(": "), ""]
        elif line.startswith(".. "):  # a comment or a link target
            inside_quiet = True
        else:
            kept.append(_REFERENCE.sub(r"\1", _ROLE.sub(r"\1", line)).replace("``", "`"))
    return kept


def _mark_headings(lines: list[str]) -> list[str]:
    """Underlined titles become `#` headings; the level is the order in which marks appear."""
    levels: list[str] = []
    marked: list[str] = []
    for line in lines:
        mark = _UNDERLINE.match(line)
        title = marked[-1].strip() if marked else ""
        if not mark or not title or title.startswith("#") or len(line.rstrip()) < len(title):
            marked.append(line)
            continue
        if line[0] not in levels:
            levels.append(line[0])
        marked[-1] = f"{'#' * min(6, levels.index(line[0]) + 1)} {title}"
        if len(marked) > 1 and _UNDERLINE.match(marked[-2]):  # the line above the title
            del marked[-2]
        marked.append("")
    return marked
