"""Reads files with another tool, in the tool's own environment: for `documents.py`.

    python documents_peer.py TOOL PROCESSES FILES REPLIES

FILES holds a path a line; REPLIES gets a JSON object a file: text, or the error it ended with. Uses
nothing but the standard library and the tool.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from collections.abc import Callable
from pathlib import Path

SECONDS = 60
"""A file that takes longer is given up, as in the product (30 s an attempt, two attempts)."""

Read = Callable[[str], str]


def load_markitdown() -> Read:
    """Markitdown, with what its extras read."""
    from markitdown import MarkItDown

    tool = MarkItDown()
    return lambda path: tool.convert(path).text_content


def load_kreuzberg() -> Read:
    """Kreuzberg, without text recognition and without its cache."""
    from kreuzberg import ExtractionConfig, extract_file_sync

    config = ExtractionConfig(use_cache=False, disable_ocr=True, output_format="markdown")
    return lambda path: extract_file_sync(path, config=config).content


TOOLS = {"markitdown": load_markitdown, "kreuzberg": load_kreuzberg}
_read: Read


def start(tool: str) -> None:
    """Load the tool, once a process."""
    global _read
    _read = TOOLS[tool]()
    signal.signal(signal.SIGALRM, _give_up)


def _give_up(*_: object) -> None:
    raise TimeoutError


def read(path: str) -> dict[str, str]:
    """The text of a file, or why there is none."""
    signal.alarm(SECONDS)
    try:
        return {"path": path, "text": _read(path)}
    except Exception as exc:
        return {"path": path, "error": type(exc).__name__}
    finally:
        signal.alarm(0)


def main() -> None:
    """Read all files, in as many processes as asked for."""
    tool, processes, files, replies = sys.argv[1:]
    paths = Path(files).read_text(encoding="utf-8").splitlines()
    with (
        multiprocessing.get_context("spawn").Pool(int(processes), start, (tool,)) as pool,
        Path(replies).open("w", encoding="utf-8") as out,
    ):
        for reply in pool.imap_unordered(read, paths, chunksize=4):
            out.write(json.dumps(reply) + "\n")
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
