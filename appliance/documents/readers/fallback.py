"""The second reader of each format: pdf, docx, xlsx, pptx and epub.

They are for files on which xberg fails, hangs or finds nothing, and an insurance should it have to
be replaced. All import their library only when called.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeVar

from appliance.documents.readers.extract import Conversation, Extract, UnreadableFile
from appliance.documents.readers.html import format_table, read_html
from appliance.documents.readers.tables import convert_rows

T = TypeVar("T")

_MAX_ROWS = 100_000
_MAX_UNPACKED_BYTES = 512 * 2**20


def read_pdf(data: bytes, name: PurePath) -> Extract:
    """Text of a PDF page by page, without headings or tables, by pdfium."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(data) as document:
            pages = [_read_pdf_page(document, number) for number in range(len(document))]
    except pypdfium2.PdfiumError as exc:
        raise _damaged("pdf") from exc
    return Extract(text="\n\n".join(pages))


def count_pdf_pages(data: bytes) -> int:
    """Pages of a PDF; 0 if it cannot be opened."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(data) as document:
            return len(document)
    except pypdfium2.PdfiumError:
        return 0


def count_scanned_pages(data: bytes) -> int:
    """Pages of a PDF with a picture and without text; 0 if it cannot be opened."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(data) as document:
            return sum(_is_scan(document, number) for number in range(len(document)))
    except pypdfium2.PdfiumError:
        return 0


def _is_scan(document: Any, number: int) -> bool:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    if _read_pdf_page(document, number).strip():
        return False
    page = document[number]
    pictures = page.get_objects(filter=(FPDF_PAGEOBJ_IMAGE,), max_depth=2)
    is_scan = next(iter(pictures), None) is not None
    page.close()
    return is_scan


def read_docx(data: bytes, name: PurePath) -> Extract:
    """Headings, paragraphs, lists and tables of a Word file, by python-docx."""
    import docx

    def read() -> str:
        document = docx.Document(io.BytesIO(data))
        return "\n\n".join(_read_docx_blocks(document))

    return Extract(text=_guard(data, "docx", read))


def read_xlsx(data: bytes, name: PurePath) -> Extract:
    """Rows of every sheet, by openpyxl in its streaming mode, 100,000 rows a sheet at most."""
    import openpyxl

    def read() -> Extract:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        texts: list[str] = []
        conversations: list[Conversation] = []
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # files lie about them: one claimed a million empty columns
            found = islice(sheet.iter_rows(values_only=True, max_col=256), _MAX_ROWS)
            rows = [["" if cell is None else str(cell) for cell in row] for row in found]
            extract = convert_rows(rows)
            texts.append(f"## {sheet.title}\n\n{extract.text}" if extract.text else "")
            conversations += extract.conversations
        return Extract(text="\n\n".join(filter(None, texts)), conversations=tuple(conversations))

    return _guard(data, "xlsx", read)


def read_pptx(data: bytes, name: PurePath) -> Extract:
    """Slides with their titles as headings, by python-pptx."""
    import pptx

    def read() -> str:
        slides = pptx.Presentation(io.BytesIO(data)).slides
        return "\n\n".join(text for slide in slides if (text := _read_slide(slide)))

    return Extract(text=_guard(data, "pptx", read))


def read_epub(data: bytes, name: PurePath) -> Extract:
    """Chapters of an e-book in the order of their names."""

    def read() -> str:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            chapters = sorted(n for n in book.namelist() if n.endswith((".xhtml", ".html", ".htm")))
            texts = [
                read_html(book.read(n), PurePath(posixpath.basename(n))).text for n in chapters
            ]
        return "\n\n".join(texts)

    return Extract(text=_guard(data, "epub", read))


def _read_pdf_page(document: Any, number: int) -> str:
    page = document[number]
    text = page.get_textpage().get_text_range().replace("\r\n", "\n")
    page.close()
    return str(text)


def _read_docx_blocks(document: Any) -> Iterator[str]:
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            yield format_table([[cell.text for cell in row.cells] for row in block.rows])
            continue
        style = str(block.style.name if block.style is not None else "")
        if style.startswith("Heading") and style[-1:].isdigit():
            yield f"{'#' * min(6, int(style[-1]))} {block.text}"
        elif style == "Title":
            yield f"# {block.text}"
        else:
            yield f"- {block.text}" if style.startswith("List") else block.text


def _read_slide(slide: Any) -> str:
    title = slide.shapes.title
    parts = [f"## {title.text_frame.text}"] if title is not None and title.has_text_frame else []
    for shape in slide.shapes:
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if shape.has_text_frame and shape.text_frame.text.strip():
            parts.append(shape.text_frame.text)
        elif getattr(shape, "has_table", False):
            parts.append(format_table([[c.text for c in row.cells] for row in shape.table.rows]))
    return "\n\n".join(parts)


def _guard(data: bytes, kind: str, read: Callable[[], T]) -> T:
    """Run a reader of a zipped format; refuse bombs before it, turn its errors into a verdict."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
        if unpacked > _MAX_UNPACKED_BYTES:
            raise UnreadableFile(
                "it unpacks to far more than its size, as attacks on readers do",
                "check where it comes from; if it is honest, export it as pdf or text",
            )
        return read()
    except UnreadableFile:
        raise
    except Exception as exc:  # these libraries let any error through
        raise _damaged(kind) from exc


def _damaged(kind: str) -> UnreadableFile:
    return UnreadableFile(
        f"the {kind} is damaged or not what its name says",
        "open it in its own program and save it again",
    )
