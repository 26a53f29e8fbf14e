"""HTML without a tree: a stream of tags becomes markdown, whatever the nesting.

The converter reads HTML files better; this reader is for what it leaves empty (tens of thousands of
nested elements) and for the pieces of HTML that stand inside markdown.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePath

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Extract, UnreadableFile

_SILENT = {"script", "style", "nav", "noscript", "template", "svg", "iframe", "object", "button"}
_BLOCKS = {
    "p", "div", "section", "article", "main", "header", "footer", "aside", "ul", "ol", "dl", "dt",
    "dd", "blockquote", "pre", "figure", "figcaption", "details", "summary", "form", "fieldset",
    "table", "caption", "center", "address", "h1", "h2", "h3", "h4", "h5", "h6", "li", "hr",
}  # fmt: skip
_SPACES = re.compile(r"\s+")


def read_html(data: bytes, name: PurePath) -> Extract:
    """An HTML page as markdown, read tag by tag."""
    stream = _Markdown()
    try:
        stream.feed(decode_text(data))
        stream.close()
    except AssertionError as exc:  # how the standard library says that a declaration is broken
        raise UnreadableFile(
            "its markup is damaged", "open it in a browser and save it again"
        ) from exc
    return Extract(text=stream.finish(), title=" ".join(stream.title.split()))


def convert_fragment(html: str) -> str:
    """A piece of HTML, such as a table inside markdown, as markdown."""
    stream = _Markdown()
    stream.feed(html)
    stream.close()
    return stream.finish()


def format_table(rows: list[list[str]]) -> str:
    """Rows as a markdown table whose first row is the header; ragged rows are filled."""
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    lines = [_format_row(row + [""] * (width - len(row))) for row in rows]
    if width == 1:
        return "\n".join(row[0].strip() for row in rows)
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _format_row(cells: list[str]) -> str:
    return "| " + " | ".join(_SPACES.sub(" ", c).strip().replace("|", "/") for c in cells) + " |"


class _Markdown(HTMLParser):
    """Collects markdown while tags stream by. Keeps counters, not a tree: depth costs nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._parts: list[str] = []
        self._silent = 0
        self._in_title = False
        self._rows: list[list[str]] | None = None
        self._cell: list[str] | None = None

    def finish(self) -> str:
        """The markdown so far; an unclosed table is closed."""
        self._close_table()
        text = "".join(self._parts)
        return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]*\n[ \t]*", "\n", text)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "title":
            self._in_title = True
        elif tag == "table":
            self._close_table()
            self._rows = []
        elif self._rows is not None:
            self._start_in_table(tag)
        elif tag in ("br", "hr"):
            self._parts.append("\n")
        elif tag == "li":
            self._parts.append("\n- ")
        elif tag in _BLOCKS:
            heading = "#" * int(tag[1]) + " " if re.fullmatch(r"h[1-6]", tag) else ""
            self._parts.append("\n\n" + heading)

    def _start_in_table(self, tag: str) -> None:
        assert self._rows is not None
        if tag == "tr":
            self._close_cell()
            self._rows.append([])
        elif tag in ("td", "th"):
            self._close_cell()
            self._cell = []
        elif self._cell is not None and tag in (*_BLOCKS, "br"):
            self._cell.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "title":
            self._in_title = False
        elif tag == "table":
            self._close_table()
        elif tag in ("td", "th", "tr") and self._rows is not None:
            self._close_cell()
        elif tag in _BLOCKS and self._rows is None:
            self._parts.append("\n" if tag == "li" else "\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._silent:
            return
        elif self._cell is not None:
            self._cell.append(data)
        elif self._rows is None or data.strip():
            self._parts.append(_SPACES.sub(" ", data))

    def _close_cell(self) -> None:
        if self._cell is None or self._rows is None:
            return
        if not self._rows:
            self._rows.append([])
        self._rows[-1].append("".join(self._cell))
        self._cell = None

    def _close_table(self) -> None:
        if self._rows is None:
            return
        self._close_cell()
        self._parts.append("\n\n" + format_table(self._rows) + "\n\n")
        self._rows = None
