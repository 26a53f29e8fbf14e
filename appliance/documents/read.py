"""A folder of documents becomes a corpus: text, and a ledger with one verdict for every file.

What a file is and how it is read is decided in `readers/`; this file asks, counts and writes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from appliance.documents.converter import ConversionFailure, Converter, ConverterStopped
from appliance.documents.dedupe import fingerprint_text
from appliance.documents.walk import Entry, fingerprint_entries, list_entries
from appliance.errors import DocumentsError, InterruptedRun
from appliance.events import Progress
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder
from appliance.units import MIB, format_bytes
from appliance.values import Corpus, Document, DocumentsFolder, FileVerdict, Turn

_MIN_CHARACTERS = 20
_SET_ASIDE = re.compile(
    r"(?:^|[/ _.-])(?:archived?|old|backups?|copy|superseded|obsolete)(?:[/ _.)-]|$)", re.I
)
_SKIPPED: dict[str, tuple[str, str]] = {
    "recipe": ("it is a recipe, not a document", "nothing; rename it if it is a document"),
    "hidden": (
        "its name starts with a dot: hidden files are left alone",
        "rename it if it is a document",
    ),
    "link": ("it is a link: links are not followed", "copy the document itself into the folder"),
    "special": ("it is a device, pipe or socket", "remove it from the folder"),
    "closed": (
        "this folder may not be opened",
        "give this user permission to list it (chmod u+rX)",
    ),
}


@dataclass(kw_only=True, slots=True)
class _Tally:
    """What was found so far. Holds hashes and counts, no text."""

    verdicts: Counter[str] = field(default_factory=Counter)
    first_by_hash: dict[str, str] = field(default_factory=dict)
    num_documents: int = 0
    num_characters: int = 0
    num_secrets_masked: int = 0


def read_corpus(folder: DocumentsFolder, recipe: DocumentsRecipe, stage: StageFolder) -> Corpus:
    """Read every file of a folder.

    Args:
        folder: what `scan_folder` saw.
        recipe: limits, and whether secrets are masked.
        stage: where documents.jsonl and ledger.jsonl are written.

    Returns:
        The corpus: counts, and where its two files are.

    Raises:
        DocumentsError: the folder changed meanwhile, or no file could be read.
        InterruptedRun: the person wants to stop.
    """
    entries = _list_unchanged(folder)
    tally = _Tally()
    documents_path, ledger_path = stage.folder / "documents.jsonl", stage.folder / "ledger.jsonl"
    with (
        documents_path.open("w", encoding="utf-8") as documents,
        ledger_path.open("w", encoding="utf-8") as ledger,
        Converter(stage.should_stop) as converter,
    ):
        for done, entry in enumerate(sorted(entries, key=_is_set_aside), start=1):
            if stage.should_stop():
                raise _interrupted(done - 1, len(entries))
            try:
                verdict = _judge(entry, recipe, converter, tally, documents)
            except ConverterStopped as exc:
                raise _interrupted(done - 1, len(entries)) from exc
            tally.verdicts[verdict.verdict] += 1
            tally.num_secrets_masked += verdict.num_secrets_masked
            ledger.write(verdict.model_dump_json() + "\n")
            stage.on_event(Progress(stage=stage.name, done=done, total=len(entries), unit="files"))
    if not tally.num_documents:
        raise _nothing_readable(folder, ledger_path)
    return Corpus(
        documents_file=stage.locate("documents.jsonl"),
        ledger_file=stage.locate("ledger.jsonl"),
        num_files=len(entries),
        num_used=tally.verdicts["used"],
        num_duplicates=tally.verdicts["duplicate"],
        num_skipped=tally.verdicts["skipped"],
        num_documents=tally.num_documents,
        num_characters=tally.num_characters,
        num_secrets_masked=tally.num_secrets_masked,
        sha256=_hash_file(documents_path),
    )


def _is_set_aside(entry: Entry) -> bool:
    """Whether the name says archive or copy: of two equal files, the other one is kept."""
    return bool(_SET_ASIDE.search(entry.name))


def _list_unchanged(folder: DocumentsFolder) -> list[Entry]:
    try:
        entries = list_entries(Path(folder.path))
    except OSError as exc:
        raise DocumentsError(
            f"folder {folder.path} cannot be opened any more",
            why=exc.strerror or type(exc).__name__,
            fix="mount it again and run the same command",
        ) from exc
    if fingerprint_entries(entries) != folder.fingerprint:
        raise DocumentsError(
            f"folder {folder.path} changed while the job started",
            why=f"{folder.num_files:,} files were seen first, {len(entries):,} are there now, "
            "or some were written to",
            fix="wait until nothing writes to it, then run the same command again",
        )
    return entries


def _judge(
    entry: Entry,
    recipe: DocumentsRecipe,
    converter: Converter,
    tally: _Tally,
    documents: TextIO,
) -> FileVerdict:
    """The verdict on one entry; its document is written if it is used."""
    if entry.kind != "file":
        return _skip(entry, *_SKIPPED[entry.kind])
    if entry.num_bytes > recipe.max_file_mebibytes * MIB:
        return _skip(
            entry,
            f"it has {format_bytes(entry.num_bytes)}, at most {recipe.max_file_mebibytes} MiB "
            "are read",
            f"split it, or --set documents.max_file_mebibytes={-(-entry.num_bytes // MIB)}",
        )
    reply = converter.convert(
        entry.path,
        max_bytes=recipe.max_file_mebibytes * MIB,
        seconds=recipe.seconds_per_file,
        mask_secrets=recipe.mask_secrets,
    )
    if isinstance(reply, ConversionFailure):
        return _skip(entry, reply.reason, reply.fix)
    return _accept(entry, reply, tally, documents)


def _accept(entry: Entry, reply: dict[str, Any], tally: _Tally, documents: TextIO) -> FileVerdict:
    document = Document(
        number=tally.num_documents,
        source=entry.name,
        title=reply["title"],
        text=reply["text"],
        conversations=tuple(
            tuple(Turn(role=role, content=content) for role, content in turns)
            for turns in reply["conversations"]
        ),
    )
    num_characters = len(document.text) + sum(
        len(turn.content) for turns in document.conversations for turn in turns
    )
    if num_characters < _MIN_CHARACTERS:
        return _skip(
            entry,
            f"it holds {num_characters} characters of text, fewer than {_MIN_CHARACTERS}",
            "nothing, if that is all it should say",
        )
    key = fingerprint_text(document.text, document.conversations)
    if key in tally.first_by_hash:
        return FileVerdict(
            path=entry.name,
            verdict="duplicate",
            reason=f"it says the same as {tally.first_by_hash[key]}",
            fix="nothing; remove one of the two if they should differ",
            num_bytes=entry.num_bytes,
        )
    tally.first_by_hash[key] = entry.name
    tally.num_documents += 1
    tally.num_characters += num_characters
    documents.write(document.model_dump_json() + "\n")
    return FileVerdict(
        path=entry.name,
        verdict="used",
        reason=reply["remark"],
        num_bytes=entry.num_bytes,
        num_characters=num_characters,
        num_secrets_masked=reply["num_secrets_masked"],
    )


def _skip(entry: Entry, reason: str, fix: str) -> FileVerdict:
    return FileVerdict(
        path=entry.name, verdict="skipped", reason=reason, fix=fix, num_bytes=entry.num_bytes
    )


def _interrupted(done: int, total: int) -> InterruptedRun:
    return InterruptedRun(
        "stopped while documents were read",
        why=f"{done:,} of {total:,} files were done",
        fix="run the same command again",
    )


def _nothing_readable(folder: DocumentsFolder, ledger_path: Path) -> DocumentsError:
    """An error that names the most frequent reasons: nobody should have to open the ledger."""
    reasons: Counter[tuple[str, str]] = Counter()
    for line in ledger_path.read_text(encoding="utf-8").splitlines():
        verdict = FileVerdict.model_validate_json(line)
        reasons[verdict.reason, verdict.fix] += 1
    common = reasons.most_common(3)
    return DocumentsError(
        f"no readable document in {folder.path}",
        why="; ".join(f"{number:,} x {reason}" for (reason, _), number in common),
        fix=common[0][0][1],
    )


def _hash_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
