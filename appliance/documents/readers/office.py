"""PDF, office, mail, e-book and HTML files through xberg; per format another reader behind it.

xberg is given bytes, never names or addresses, so that nothing is ever fetched. Its text is not
taken on trust: an error, or hardly any text, and the other reader of the format has a try.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace
from pathlib import PurePath

from appliance.documents.readers.extract import Conversation, Extract, Reader, UnreadableFile
from appliance.documents.readers.fallback import (
    count_pdf_pages,
    count_scanned_pages,
    read_docx,
    read_epub,
    read_pdf,
    read_pptx,
    read_xlsx,
)
from appliance.documents.readers.html import read_html
from appliance.documents.readers.tables import convert_rows, parse_markdown_table

SUFFIXES = frozenset(
    (
        ".pdf", ".docx", ".doc", ".odt", ".rtf", ".pptx", ".ppt", ".odp", ".xlsx", ".xls", ".ods",
        ".epub", ".eml", ".msg", ".html", ".htm", ".xhtml", ".html5", ".ipynb", ".org",
        ".mediawiki",
    )
)  # fmt: skip
FALLBACKS: dict[str, Reader] = {
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".xlsx": read_xlsx,
    ".pptx": read_pptx,
    ".epub": read_epub,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
}
_SHEETS = (".xlsx", ".xls", ".ods")
_MAX_RUNNING = 100
_MOST_RUNNING = 0.25
"""Share of the lines. Source: a file of three repair estimates, of which two lost their items."""

_MIN_CHARACTERS = 20
"""Letters on a page; fewer are a scan or a failure. Source: of 463 files that xberg read without an
error, 23 came back empty."""


def read_office(data: bytes, name: PurePath, *, only_fallback: bool = False) -> Extract:
    """Read a file with xberg, or with the other reader of its format.

    Args:
        data: the file.
        name: its name; the suffix decides which other reader there is.
        only_fallback: leave xberg out, because it hung or crashed on this file.

    Raises:
        UnreadableFile: no reader finds text in it.
    """
    other = FALLBACKS.get(name.suffix.lower())
    refusal = UnreadableFile("its reader did not come back", "save it again in another format")
    extract = Extract()
    if not only_fallback:
        try:
            extract = _read_xberg(data, name)
        except UnreadableFile as exc:
            refusal = exc
        else:
            refusal = _explain_empty(data, name)
    if other and not _has_enough(extract.text, data, name):
        extract = _take_longer(extract, other, data, name)
    if not _count_letters(extract.text):
        raise refusal
    if data.startswith(b"%PDF") and not extract.remark:
        extract = replace(extract, remark=_tell_scans(data))
    return extract


def _tell_scans(data: bytes) -> str:
    """A remark when some pages of a PDF are pictures without text."""
    num_scans = count_scanned_pages(data)
    if not num_scans:
        return ""
    num_pages = count_pdf_pages(data)
    return f"{num_scans:,} of its {num_pages:,} pages seem to be scans without text: not read"


def _read_xberg(data: bytes, name: PurePath) -> Extract:
    import xberg  # 0.2 s: only when a file needs it

    config = xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        output_format="markdown",
        escape_markdown=False,
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, filename=f"document{name.suffix.lower()}")
    try:
        result = asyncio.run(xberg.extract(source, config))
    except (xberg.XbergError, RuntimeError, ValueError, OSError) as exc:
        raise _explain_failure(f"{type(exc).__name__} {exc}", name) from exc
    if not result.results:
        messages = " ".join(f"{error.error_type} {error.message}" for error in result.errors)
        raise _explain_failure(messages, name)
    document = result.results[0]
    title = (document.metadata.title if document.metadata else None) or ""
    if name.suffix.lower() in _SHEETS:
        return _read_sheets(document.content)
    text = document.content
    if data.startswith(b"%PDF"):
        text = _drop_running_lines(text, count_pdf_pages(data))
    return Extract(text=text, title=_trust_title(title))


def _read_sheets(markdown: str) -> Extract:
    """Tables of a workbook, sheet by sheet, row by row."""
    texts: list[str] = []
    conversations: list[Conversation] = []
    for block in re.split(r"\n(?=## )|\n\n", "\n" + markdown):
        lines = [line for line in block.strip().splitlines() if line.strip()]
        if lines and lines[0].startswith("|"):
            extract = convert_rows(parse_markdown_table(lines))
            texts.append(extract.text)
            conversations += extract.conversations
        else:
            texts.append("\n".join(lines))
    return Extract(
        text="\n\n".join(text for text in texts if text),
        conversations=tuple(conversations),
    )


def _drop_running_lines(text: str, num_pages: int) -> str:
    """Page headers and footers: a short line that most pages repeat stays once.

    Where such lines are a large part of the text, the pages are forms of one kind, and the lines
    their labels and values: then all stay.
    """
    lines = text.split("\n")
    counts = Counter(line.strip() for line in lines if 3 < len(line.strip()) < _MAX_RUNNING)
    least = max(2, round(0.6 * num_pages))
    running = {line for line, count in counts.items() if count >= least and line[0] not in "#|-"}
    num_lines = sum(1 for line in lines if line.strip())
    if sum(counts[line] for line in running) > _MOST_RUNNING * num_lines:
        return text
    seen: set[str] = set()
    kept = []
    for line in lines:
        bare = line.strip()
        if bare in seen:
            continue
        if bare in running:
            seen.add(bare)
        kept.append(line)
    return "\n".join(kept)


def _take_longer(extract: Extract, other: Reader, data: bytes, name: PurePath) -> Extract:
    try:
        second = other(data, name)
    except UnreadableFile:
        return extract
    if _count_letters(second.text) <= _count_letters(extract.text):
        return extract
    return Extract(
        text=second.text,
        title=second.title or extract.title,
        conversations=second.conversations,
        remark="read by the second reader of its format: check that headings and tables are right",
    )


def _has_enough(text: str, data: bytes, name: PurePath) -> bool:
    pages = count_pdf_pages(data) if data.startswith(b"%PDF") else 1
    return _count_letters(text) >= _MIN_CHARACTERS * max(1, pages)


def _count_letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _trust_title(title: str) -> str:
    """Titles that programs write into a file say little: `Microsoft Word - Contract.doc`."""
    title = re.sub(r"^Microsoft \w+ - ", "", " ".join(title.split()))
    title = re.sub(r"\.(docx?|pdf|xlsx?|pptx?|odt|html?)$", "", title, flags=re.I)
    is_noise = not re.search(r"[A-Za-z]{3}", title) or len(title) > 120
    is_noise |= bool(re.match(r"(untitled|document\d*|slide \d+|presentation\d*)$", title, re.I))
    return "" if is_noise else title


def _explain_failure(message: str, name: PurePath) -> UnreadableFile:
    """A reason without a word of the file: messages of parsers may quote it."""
    words = message.lower()
    kind = name.suffix.lstrip(".").lower() or "file"
    if "encrypt" in words or "password" in words:
        return UnreadableFile("it is protected by a password", "save a copy without the password")
    if "unsupported" in words:
        return UnreadableFile(
            "its content is in a format that is not read", "export it as pdf, docx, html or text"
        )
    if "security" in words or "limit" in words or "ratio" in words:
        return UnreadableFile(
            "it unpacks to far more than its size, as attacks on readers do",
            "check where it comes from; if it is honest, export it as pdf or text",
        )
    return UnreadableFile(
        f"the {kind} is damaged or not what its name says",
        "open it in its own program and save it again",
    )


def _explain_empty(data: bytes, name: PurePath) -> UnreadableFile:
    if data.startswith(b"%PDF"):
        pages = count_pdf_pages(data)
        return UnreadableFile(
            f"there is no text on its {pages:,} page{'s' * (pages != 1)}: they seem to be scans",
            "run text recognition over it and save it as a searchable pdf",
        )
    return UnreadableFile("there is no text in it", "nothing, if it holds only pictures")
