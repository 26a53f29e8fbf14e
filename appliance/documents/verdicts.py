"""The verdict on one file: used, duplicate of an earlier one, or skipped, with reason and fix."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from appliance.documents.conversion import Conversion
from appliance.documents.converter import ConversionFailure
from appliance.documents.dedupe import fingerprint_text
from appliance.documents.drafts import Drafts
from appliance.documents.placeholders import Placeholders
from appliance.documents.settle import MIN_CHARACTERS
from appliance.documents.walk import MAX_DEPTH, Entry
from appliance.recipe import DocumentsRecipe
from appliance.units import MIB, format_bytes
from appliance.values import Document, FileVerdict, Turn

_MAX_TITLE = 200
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
    "deep": (
        f"it lies below more than {MAX_DEPTH} folders, one in the other",
        "move what is in it further up",
    ),
}


@dataclass(kw_only=True, slots=True)
class Tally:
    """What was found so far. Holds hashes and counts, no text."""

    verdicts: Counter[str] = field(default_factory=Counter)
    first_by_hash: dict[bytes, str] = field(default_factory=dict)
    placeholders: Placeholders = field(default_factory=Placeholders)
    masked: Counter[str] = field(default_factory=Counter)


def refuse_unopened(entry: Entry, recipe: DocumentsRecipe) -> FileVerdict | None:
    """The verdict on what is not opened at all; None for a file to be read."""
    if entry.kind != "file":
        return _skip(entry, *_SKIPPED[entry.kind])
    if entry.num_bytes <= recipe.max_file_mebibytes * MIB:
        return None
    return _skip(
        entry,
        f"it has {format_bytes(entry.num_bytes)}, at most {recipe.max_file_mebibytes} MiB are read",
        f"split it, or --set documents.max_file_mebibytes={-(-entry.num_bytes // MIB)}",
    )


def judge(made: Conversion, tally: Tally, drafts: Drafts) -> FileVerdict:
    """The verdict on what a reader gave; its document becomes a draft if it is used."""
    if isinstance(made.reply, ConversionFailure):
        verdict = _skip(made.entry, made.reply.reason, made.reply.fix)
    else:
        verdict = _accept(made.entry, made.reply, tally, drafts)
    return verdict.model_copy(
        update={
            "sha256": made.sha256,
            "archive": made.archive,
            "archive_sha256": made.archive_sha256,
        }
    )


def _accept(entry: Entry, reply: dict[str, Any], tally: Tally, drafts: Drafts) -> FileVerdict:
    fill_in = tally.placeholders.fill_in
    document = Document(
        number=len(drafts),
        source=entry.name,
        title=fill_in(reply["title"])[:_MAX_TITLE],
        text=fill_in(reply["text"]),
        conversations=tuple(
            tuple(Turn(role=role, content=fill_in(content)) for role, content in turns)
            for turns in reply["conversations"]
        ),
    )
    num_characters = document.num_characters
    if num_characters < MIN_CHARACTERS:
        return _skip(
            entry,
            f"it holds {num_characters} characters of text, fewer than {MIN_CHARACTERS}",
            "nothing, if that is all it should say",
        )
    first = tally.first_by_hash.setdefault(
        fingerprint_text(document.text, document.conversations), entry.name
    )
    if first != entry.name:
        return FileVerdict(
            path=entry.name,
            verdict="duplicate",
            reason=f"it says the same as {first}",
            fix="nothing; remove one of the two if they should differ",
            num_bytes=entry.num_bytes,
            duplicate_of=first,
        )
    drafts.add(document, entry)
    return FileVerdict(
        path=entry.name,
        verdict="used",
        reason=reply["remark"],
        num_bytes=entry.num_bytes,
        num_characters=num_characters,
        num_secrets_masked=sum(reply["masked"].values()),
        masked=reply["masked"],
    )


def _skip(entry: Entry, reason: str, fix: str) -> FileVerdict:
    return FileVerdict(
        path=entry.name, verdict="skipped", reason=reason, fix=fix, num_bytes=entry.num_bytes
    )
