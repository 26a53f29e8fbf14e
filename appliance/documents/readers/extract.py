"""What a reader gives back, and how it says that it cannot read a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

Conversation = tuple[tuple[str, str], ...]
"""Turns of (role, content); roles are system, user and assistant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extract:
    """Text of one file.

    Attributes:
        text: markdown or plain text, not yet cleaned.
        title: what the file itself says it is called; empty if it does not say.
        conversations: chats, tickets and question-answer rows.
        remark: something the owner should know although the file was read.
    """

    text: str = ""
    title: str = ""
    conversations: tuple[Conversation, ...] = ()
    remark: str = ""


class Reader(Protocol):
    """Turns the bytes of a file into text. The name is a hint, its suffix may be wrong."""

    def __call__(self, data: bytes, name: PurePath) -> Extract:
        """Read a file.

        Raises:
            UnreadableFile: it cannot be read; the reason never quotes the file.
        """


class UnreadableFile(Exception):  # noqa: N818  (a verdict about a file, not a fault of ours)
    """A file cannot be read.

    Args:
        reason: why, without any text of the file.
        fix: what its owner can do.
    """

    def __init__(self, reason: str, fix: str) -> None:
        """Keep both for the ledger."""
        super().__init__(reason, fix)
        self.reason = reason
        self.fix = fix
