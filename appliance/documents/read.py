"""A folder of documents becomes a corpus: text, and a ledger with one verdict for every file.

What a file is and how it is read is decided in `readers/`; this file asks, numbers private values
and finds exact duplicates. What needs all documents at once is decided in `settle.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.documents.cache import TextCache
from appliance.documents.conversions import Conversion, Conversions, Limits
from appliance.documents.converter import ConversionFailure, ConverterStopped
from appliance.documents.dedupe import fingerprint_text
from appliance.documents.drafts import Drafts, is_set_aside
from appliance.documents.placeholders import Placeholders
from appliance.documents.scrub import make_policy
from appliance.documents.settle import MIN_CHARACTERS, count_characters, settle
from appliance.documents.walk import MAX_DEPTH, Entry, fingerprint_entries, list_entries
from appliance.errors import DocumentsError, InterruptedRun
from appliance.events import Progress
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder
from appliance.units import MIB, format_bytes
from appliance.values import Corpus, Document, DocumentsFolder, FileVerdict, Turn

VERDICTS = "verdicts.jsonl"
"""First verdicts, before near duplicates are known; gone when the stage is done."""

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
class _Tally:
    """What was found so far. Holds hashes and counts, no text."""

    verdicts: Counter[str] = field(default_factory=Counter)
    first_by_hash: dict[str, str] = field(default_factory=dict)
    placeholders: Placeholders = field(default_factory=Placeholders)
    masked: Counter[str] = field(default_factory=Counter)


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
    entries = sorted(_list_unchanged(folder), key=is_set_aside)
    tally = _Tally()
    verdicts = stage.folder / VERDICTS
    with Drafts(stage.folder / "drafts.jsonl") as drafts:
        _read_files(entries, folder, recipe, stage, drafts, tally)
        if not drafts:
            raise _nothing_readable(folder, verdicts)
        settled = settle(drafts, verdicts, recipe, stage.folder, lambda: _check_stop(stage))
    verdicts.unlink()
    return Corpus(
        documents_file=stage.locate("documents.jsonl"),
        ledger_file=stage.locate("ledger.jsonl"),
        boilerplate_file=stage.locate("boilerplate.jsonl"),
        num_files=tally.verdicts.total(),
        num_used=settled.num_documents,
        num_duplicates=tally.verdicts["duplicate"] + settled.num_near_duplicates,
        num_near_duplicates=settled.num_near_duplicates,
        num_skipped=tally.verdicts["skipped"] + settled.num_emptied,
        num_documents=settled.num_documents,
        num_characters=settled.num_characters,
        num_secrets_masked=tally.masked.total(),
        masked=dict(sorted(tally.masked.items())),
        num_boilerplate_lines=settled.num_boilerplate_lines,
        sha256=_hash_file(stage.folder / "documents.jsonl"),
    )


def _read_files(
    entries: list[Entry],
    folder: DocumentsFolder,
    recipe: DocumentsRecipe,
    stage: StageFolder,
    drafts: Drafts,
    tally: _Tally,
) -> None:
    """Read every file: its document becomes a draft, its verdict a line."""
    limits = Limits(
        max_bytes=recipe.max_file_mebibytes * MIB,
        seconds=recipe.seconds_per_file,
        policy=make_policy(recipe),
    )
    done = 0
    with (
        (stage.folder / VERDICTS).open("w", encoding="utf-8") as lines,
        TextCache(stage.run, recipe.cache_mebibytes * MIB) as cache,
    ):
        conversions = Conversions(Path(folder.path), limits, cache, stage.should_stop)
        with closing(_judge_all(entries, conversions, recipe, tally, drafts)) as verdicts:
            try:
                for verdict, is_last in verdicts:
                    if stage.should_stop():
                        raise ConverterStopped
                    tally.verdicts[verdict.verdict] += 1
                    tally.masked.update(verdict.masked)
                    lines.write(verdict.model_dump_json() + "\n")
                    done += is_last
                    if is_last:
                        told = Progress(
                            stage=stage.name, done=done, total=len(entries), unit="files"
                        )
                        stage.on_event(told)
            except ConverterStopped as exc:
                raise _interrupted(done, len(entries)) from exc
        cache.forget_unused()


def _check_stop(stage: StageFolder) -> None:
    if stage.should_stop():
        raise InterruptedRun(
            "stopped while duplicates were looked for",
            why="the person asked for it",
            fix="run the same command again",
        )


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


def _judge_all(
    entries: list[Entry],
    conversions: Conversions,
    recipe: DocumentsRecipe,
    tally: _Tally,
    drafts: Drafts,
) -> Generator[tuple[FileVerdict, bool], None, None]:
    """The verdict on each file in order, and whether it is the last one about a file."""
    readable = (entry for entry in entries if _refuse(entry, recipe) is None)
    with closing(conversions.convert_all(readable)) as converted:
        for entry in entries:
            refusal = _refuse(entry, recipe)
            if refusal is not None:
                yield refusal, True
                continue
            for made in converted:
                yield _judge(made, tally, drafts), made.is_last
                if made.is_last:
                    break


def _refuse(entry: Entry, recipe: DocumentsRecipe) -> FileVerdict | None:
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


def _judge(made: Conversion, tally: _Tally, drafts: Drafts) -> FileVerdict:
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


def _accept(entry: Entry, reply: dict[str, Any], tally: _Tally, drafts: Drafts) -> FileVerdict:
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
    num_characters = count_characters(document)
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
