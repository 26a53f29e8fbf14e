"""Messages of errors, read from the code as text: what happened, why, and what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANY = "…"
"""Stands for what differs from one time to the next."""

_MIN_LETTERS = 8
"""A message with fewer letters of its own says nothing on a page."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Message:
    """One message.

    Attributes:
        error: name of its class.
        what: its first line.
        why: the cause; "" where it differs wholly.
        fix: what to do.
    """

    error: str
    what: str
    why: str
    fix: str


def list_messages(package: Path) -> list[Message]:
    """Every message that the package raises with a way on, sorted, each once."""
    found = {
        message
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for message in _read_call(node)
    }
    return sorted(found)


def _read_call(call: ast.Call) -> Iterator[Message]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    said = {keyword.arg: keyword.value for keyword in call.keywords}
    if not name.endswith(("Error", "InterruptedRun")) or not call.args or "fix" not in said:
        return
    what, fix = write_text(call.args[0]), write_text(said["fix"])
    why = write_text(said["why"]) if "why" in said else ""
    if sum(letter.isalpha() for letter in what) >= _MIN_LETTERS:
        yield Message(error=name, what=what, why="" if why == ANY else why, fix=fix)


def write_text(node: ast.expr) -> str:
    """An expression as a person reads it: what is computed becomes an ellipsis."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        text = "".join(write_text(part) for part in node.values)
        return text.replace(ANY + ANY, ANY)
    if isinstance(node, ast.IfExp):
        ways = (write_text(node.body), write_text(node.orelse))
        return " or: ".join(way for way in dict.fromkeys(ways) if way not in ("", ANY)) or ANY
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (write_text(node.left) + write_text(node.right)).replace(ANY + ANY, ANY)
    return ANY
