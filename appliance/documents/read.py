"""A folder of documents becomes a corpus: text, and a ledger with one verdict for every file.

What a file is and how it is read is decided in `readers/`, in processes that `conversions.py`
keeps; what becomes of it in `verdicts.py`. What needs all documents at once is in `settle.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from appliance.documents.cache import TextCache
from appliance.documents.conversion import Limits
from appliance.documents.conversions import Conversions
from appliance.documents.converter import ConverterStopped
from appliance.documents.drafts import Drafts, is_set_aside
from appliance.documents.leave_out import tell_missing
from appliance.documents.scrub import make_policy
from appliance.documents.settle import settle
from appliance.documents.verdicts import Tally, judge, refuse_unopened
from appliance.documents.walk import Entry, fingerprint_entries, list_entries
from appliance.errors import DocumentsError, InterruptedRun
from appliance.events import Progress
from appliance.files import hash_file
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder
from appliance.units import MIB
from appliance.values import Corpus, DocumentsFolder, FileVerdict

VERDICTS = "verdicts.jsonl"
"""First verdicts, before near duplicates are known; gone when the stage is done."""


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
    tally = Tally()
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
        sha256=hash_file(stage.folder / "documents.jsonl"),
    )


def _read_files(
    entries: list[Entry],
    folder: DocumentsFolder,
    recipe: DocumentsRecipe,
    stage: StageFolder,
    drafts: Drafts,
    tally: Tally,
) -> None:
    """Read every file: its document becomes a draft, its verdict a line."""
    limits = Limits(
        max_bytes=recipe.max_file_mebibytes * MIB,
        seconds=recipe.seconds_per_file,
        policy=make_policy(recipe),
        left_out=frozenset(recipe.without),
    )
    done = 0
    seen: set[str] = set()
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
                    seen |= {verdict.sha256, verdict.archive_sha256} & limits.left_out
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
    tell_missing(recipe.without, seen, stage.on_event)


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
    tally: Tally,
    drafts: Drafts,
) -> Generator[tuple[FileVerdict, bool], None, None]:
    """The verdict on each file in order, and whether it is the last one about a file."""
    readable = (entry for entry in entries if refuse_unopened(entry, recipe) is None)
    with closing(conversions.convert_all(readable)) as converted:
        for entry in entries:
            refusal = refuse_unopened(entry, recipe)
            if refusal is not None:
                yield refusal, True
                continue
            for made in converted:
                yield judge(made, tally, drafts), made.is_last
                if made.is_last:
                    break


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
