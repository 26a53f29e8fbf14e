"""Source code and configuration: fenced, so that nothing in it is taken for markdown.

Long files become several fences, cut at an empty line where one is near: a fence is a block, and
blocks are better not cut later.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Extract

_LANGUAGES = {
    ".py": "python", ".pyi": "python", ".js": "javascript", ".mjs": "javascript",
    ".jsx": "javascript", ".ts": "typescript", ".tsx": "typescript", ".java": "java",
    ".kt": "kotlin", ".scala": "scala", ".groovy": "groovy", ".c": "c", ".h": "c", ".cc": "cpp",
    ".cpp": "cpp", ".hpp": "cpp", ".cs": "csharp", ".vb": "vb", ".bas": "vb", ".go": "go",
    ".rs": "rust", ".swift": "swift", ".m": "matlab", ".r": "r", ".jl": "julia", ".rb": "ruby",
    ".php": "php", ".pl": "perl", ".lua": "lua", ".dart": "dart", ".pas": "pascal",
    ".f90": "fortran", ".cob": "cobol", ".abap": "abap", ".st": "st", ".sql": "sql", ".sh": "bash",
    ".bash": "bash", ".zsh": "bash", ".ps1": "powershell", ".psm1": "powershell", ".bat": "batch",
    ".cmd": "batch", ".css": "css", ".scss": "css", ".vue": "vue", ".tf": "hcl", ".proto": "proto",
    ".graphql": "graphql", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".ini": "ini",
    ".cfg": "ini", ".conf": "ini", ".properties": "ini", ".env": "ini", ".service": "ini",
    ".dockerfile": "dockerfile", ".cmake": "cmake", ".gradle": "groovy",
}  # fmt: skip
_MAX_LINES, _SOFT_LINES = 120, 60
_TICKS = re.compile(r"`{3,}")
_INNER_FENCE = re.compile(r"^(```|~~~)", re.M)


def read_code(data: bytes, name: PurePath) -> Extract:
    """Source code or configuration in fences that name its language.

    Raises:
        UnreadableFile: the bytes are not text.
    """
    text = decode_text(data).replace("\r\n", "\n").strip("\n")
    fence = "`" * (1 + max([2, *map(len, _TICKS.findall(text))]))
    text = _INNER_FENCE.sub(r" \1", text)
    opening = fence + _LANGUAGES.get(name.suffix.lower(), "")
    pieces = ("\n".join(piece).strip("\n") for piece in _cut(text.split("\n")))
    return Extract(text="\n\n".join(f"{opening}\n{piece}\n{fence}" for piece in pieces if piece))


READS = {suffix: read_code for suffix in _LANGUAGES}


def _cut(lines: list[str]) -> list[list[str]]:
    """Pieces of at most 120 lines; past 60, an empty line ends one."""
    pieces: list[list[str]] = [[]]
    for line in lines:
        size = len(pieces[-1])
        if size >= _MAX_LINES or (size >= _SOFT_LINES and not line.strip()):
            pieces.append([])
        pieces[-1].append(line)
    return pieces
