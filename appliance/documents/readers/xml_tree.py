"""XML: records become lines or conversations, titles headings, everything else paragraphs.

A file that defines entities is refused: that is how a few bytes become gigabytes, and how a parser
is made to open other files. Depth costs nothing: below a limit, elements join their ancestor.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from xml.parsers import expat

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Conversation, Extract, UnreadableFile
from appliance.documents.readers.html import convert_fragment
from appliance.documents.readers.records import format_record, read_conversation

_MAX_DEPTH = 64
_LONG = 120
_TITLES = ("title", "heading", "head", "caption")


@dataclass(slots=True)
class _Element:
    """An element; children are elements and pieces of text, in order."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Element | str] = field(default_factory=list)

    @property
    def elements(self) -> list[_Element]:
        return [child for child in self.children if isinstance(child, _Element)]

    def has_own_text(self) -> bool:
        return any(isinstance(child, str) and child.strip() for child in self.children)

    def is_leaf(self) -> bool:
        return not self.elements

    def collect_text(self) -> str:
        pieces = (c if isinstance(c, str) else c.collect_text() for c in self.children)
        return " ".join("".join(pieces).split())


def read_xml(data: bytes, name: PurePath) -> Extract:
    """An XML file as text and conversations.

    Raises:
        UnreadableFile: it defines entities, or is no text.
    """
    try:
        root = _parse(data)
    except expat.ExpatError:
        text = convert_fragment(decode_text(data))
        remark = "it is not well-formed XML: its text was kept, without its structure"
        return Extract(text=text, remark=remark)
    writer = _Writer()
    writer.write(root, level=1)
    return Extract(
        text="\n\n".join(writer.blocks),
        conversations=tuple(writer.conversations),
        title=writer.title,
    )


READS = {".xml": read_xml, ".rss": read_xml, ".atom": read_xml, ".dita": read_xml}


def _parse(data: bytes) -> _Element:
    try:
        return _build(data)
    except LookupError:  # an encoding of which nobody has heard
        return _build(decode_text(data).encode(), encoding="utf-8")
    except expat.ExpatError as exc:
        if exc.code not in (
            expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
            expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN],
        ):
            raise  # fmt: skip
        return _build(decode_text(data).lstrip("\ufeff").encode(), encoding="utf-8")


def _build(data: bytes, encoding: str | None = None) -> _Element:
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    root = _Element("")
    open_elements, too_deep = [root], 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal too_deep
        if len(open_elements) > _MAX_DEPTH:
            too_deep += 1
            open_elements[-1].children.append(" ")
            return
        element = _Element(tag.rpartition(":")[2], attributes)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        nonlocal too_deep
        if too_deep:
            too_deep -= 1
        else:
            open_elements.pop()

    def add(text: str) -> None:
        open_elements[-1].children.append(text)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = add
    parser.EntityDeclHandler = _refuse_entities
    parser.SkippedEntityHandler = lambda name, _: add(html.unescape(f"&{name};"))
    parser.Parse(data, True)
    return root


def _refuse_entities(*_: object) -> None:
    raise UnreadableFile(
        "it defines entities, as attacks on readers do", "save it without its document type"
    )


class _Writer:
    """Blocks of markdown and conversations, in the order of the elements."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.conversations: list[Conversation] = []
        self.title = ""

    def write(self, element: _Element, level: int) -> None:
        children = element.elements
        if element.has_own_text():
            self._add(element.collect_text())
        elif not children:
            self._add(format_record(element.attributes))
        elif all(child.is_leaf() for child in children) and _is_record(children):
            self._write_record(element, level)
        else:
            deeper = level
            for child in children:
                if child.tag.lower() in _TITLES and child.is_leaf():
                    self._add_heading(child.collect_text(), level)
                    deeper = level + 1
                else:
                    self.write(child, deeper)

    def _write_record(self, element: _Element, level: int) -> None:
        record = _make_record(element)
        conversation = read_conversation(record)
        if conversation:
            self.conversations.append(conversation)
            return
        title = next((record.pop(key) for key in list(record) if key.lower() in _TITLES), "")
        long = [key for key, value in record.items() if len(value) > _LONG]
        if not long:
            self._add(format_record({"Title": title, **record} if title else record))
            return
        self._add_heading(title, level)
        for key in long:
            self._add(record.pop(key))
        self._add(format_record(record))

    def _add_heading(self, text: str, level: int) -> None:
        self.title = self.title or text
        self._add(f"{'#' * min(6, level)} {text}" if text else "")

    def _add(self, block: str) -> None:
        if block:
            self.blocks.append(block)


def _is_record(leaves: list[_Element]) -> bool:
    """Several fields of different names; a run of equal ones is a list or paragraphs."""
    return len({leaf.tag for leaf in leaves}) >= 2


def _make_record(element: _Element) -> dict[str, str]:
    record = {key.rpartition(":")[2]: value for key, value in element.attributes.items()}
    for leaf, text in _read_leaves(element):
        record[leaf] = f"{record[leaf]}, {text}" if record.get(leaf) else text
    return record


def _read_leaves(element: _Element) -> Iterator[tuple[str, str]]:
    for leaf in element.elements:
        text = leaf.collect_text() or format_record(leaf.attributes).removeprefix("- ")
        if text:
            yield leaf.tag, text
