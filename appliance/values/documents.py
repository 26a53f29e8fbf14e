"""A folder of documents as it lies on disk, and as text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appliance.values.record import Value


class DocumentsFolder(Value):
    """A folder of documents as it lies on disk: enough to see whether anything changed.

    Attributes:
        path: absolute path.
        fingerprint: sha256 over relative name, size and modification time of every file.
        num_files: files found.
        num_bytes: their bytes.
    """

    path: str
    fingerprint: str
    num_files: int
    num_bytes: int


class FileVerdict(Value):
    """What happened to one file: a line of the documents ledger.

    Of a zip file, each file in it has a line, and the zip file itself has none.

    Attributes:
        path: relative to the documents folder.
        verdict: used; duplicate of another file; or skipped.
        reason: why it was not used (empty if used without remarks).
        fix: what the owner can do about it.
        num_bytes: size of the file.
        sha256: of its content, hexadecimal; "" where it was not read to its end.
        num_characters: characters of clean text taken from it.
        num_secrets_masked: private values replaced in it, of all kinds.
        masked: the same by kind, such as `email` or `api_key`.
        duplicate_of: the file that is kept instead of this one.
        num_boilerplate_lines: lines taken out because many files repeat them.
        archive: the zip file it lies in; empty for a file of the folder itself.
        archive_sha256: of that zip file.
    """

    path: str
    verdict: Literal["used", "duplicate", "skipped"]
    reason: str = ""
    fix: str = ""
    num_bytes: int = 0
    sha256: str = ""
    num_characters: int = 0
    num_secrets_masked: int = 0
    masked: dict[str, int] = Field(default_factory=dict)
    duplicate_of: str = ""
    num_boilerplate_lines: int = 0
    archive: str = ""
    archive_sha256: str = ""


class Turn(Value):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Document(Value):
    """A document as text: a line of `documents.jsonl`.

    Attributes:
        number: position in the corpus, from 0.
        source: path of its file, relative to the documents folder.
        title: from the document itself, else from its name.
        text: clean markdown; may be empty when the document is only conversations.
        conversations: chats, tickets and question-answer rows found in it.
        family: number of the first document that says half the same; none without such a relative.
    """

    number: int
    source: str
    title: str
    text: str
    conversations: tuple[tuple[Turn, ...], ...] = ()
    family: int | None = None

    @property
    def num_characters(self) -> int:
        """Characters of text and conversations."""
        turns = (turn for turns in self.conversations for turn in turns)
        return len(self.text) + sum(len(turn.content) for turn in turns)


class Corpus(Value):
    """All documents of a folder as text.

    Attributes:
        documents_file: JSON lines of Document.
        ledger_file: JSON lines of FileVerdict, one for every file of the folder.
        num_duplicates: files that repeat another one, exactly or nearly.
        num_near_duplicates: of these, nearly.
        num_characters: characters of clean text, conversations included.
        num_secrets_masked: private values replaced, of all kinds.
        masked: the same by kind, such as `email` or `api_key`.
        num_boilerplate_lines: lines taken out because many files repeat them.
        boilerplate_file: JSON lines: text, from how many files it was taken, which file keeps it.
        sha256: over documents_file.
    """

    documents_file: str
    ledger_file: str
    num_files: int
    num_used: int
    num_duplicates: int
    num_skipped: int
    num_documents: int
    num_characters: int
    num_secrets_masked: int
    sha256: str
    num_near_duplicates: int = 0
    masked: dict[str, int] = Field(default_factory=dict)
    num_boilerplate_lines: int = 0
    boilerplate_file: str = ""
