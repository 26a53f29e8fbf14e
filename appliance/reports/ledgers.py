"""The ledgers of a run in sum: files by verdict and reason, tokens by split.

They are read line by line: a folder may have a million files.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from appliance.reports.record import (
    BoilerplateText,
    DocumentsLedger,
    Reason,
    TokenLedger,
    TokensBySplit,
)
from appliance.values import Corpus, FileVerdict, TokenVerdict

MAX_REASONS = 100
"""Told; the rest is one row."""

MAX_BOILERPLATE = 20
"""Lines told by their counts."""

SHORTEST_NAME = 5
"""Characters of a file name that is looked for in a reason; a shorter one is part of words."""

_ORDER = {"skipped": 0, "duplicate": 1, "used": 2}
_OTHER = "other reasons"


def sum_documents(run: Path, corpus: Corpus, max_files: int | None) -> DocumentsLedger:
    """What happened to the files.

    Args:
        run: the run's folder.
        corpus: names its ledgers.
        max_files: told one by one; None for all, 0 for none.
    """
    num_files: Counter[str] = Counter()
    num_bytes: Counter[str] = Counter()
    reasons: Counter[tuple[str, str, str]] = Counter()
    reason_bytes: Counter[tuple[str, str, str]] = Counter()
    num_remarked = 0
    for row in _read_files(run / corpus.ledger_file):
        num_files[row.verdict] += 1
        num_bytes[row.verdict] += row.num_bytes
        if row.verdict == "used":
            num_remarked += bool(row.reason)
            continue
        key = (row.verdict, _generalise(row), row.fix)
        if key not in reasons and len(reasons) >= MAX_REASONS:
            key = (row.verdict, _OTHER, "")
        reasons[key] += 1
        reason_bytes[key] += row.num_bytes
    files = tuple(_choose_files(run / corpus.ledger_file, max_files))
    return DocumentsLedger(
        num_by_verdict=dict(num_files),
        bytes_by_verdict=dict(num_bytes),
        num_remarked=num_remarked,
        reasons=tuple(
            Reason(
                verdict=key[0],
                reason=key[1],
                fix=key[2],
                num_files=count,
                num_bytes=reason_bytes[key],
            )
            for key, count in reasons.most_common()
        ),
        boilerplate=tuple(_read_boilerplate(run, corpus)),
        files=files,
        num_files_left_out=sum(num_files.values()) - len(files),
    )


def sum_tokens(ledger: Path) -> TokenLedger:
    """What happened to the tokens.

    Args:
        ledger: JSON lines of TokenVerdict.
    """
    splits: dict[str, Counter[str]] = {name: Counter() for name in ("train", "valid", "test")}
    reasons: Counter[str] = Counter()
    for line in _read_lines(ledger):
        row = TokenVerdict.model_validate_json(line)
        counts = splits[row.split]
        counts["num_documents"] += 1
        for name in ("num_tokens", "num_used", "num_dropped", "num_repeated"):
            counts[name] += getattr(row, name)
        if row.num_dropped:
            reason = row.reason or "no reason told"
            reasons[reason if reason in reasons or len(reasons) < MAX_REASONS else _OTHER] += (
                row.num_dropped
            )
    return TokenLedger(
        splits=tuple(TokensBySplit(split=name, **counts) for name, counts in splits.items()),
        reasons=dict(reasons.most_common()),
    )


def _generalise(row: FileVerdict) -> str:
    """A reason without the name of this file, or of the other one that it repeats."""
    reason = row.reason or "no reason told"
    for name, word in ((row.duplicate_of, "another file"), (row.path, "the file")):
        for each in (name, name.rpartition("/")[2]):
            if len(each) >= SHORTEST_NAME:
                reason = reason.replace(each, word)
    return reason


def _choose_files(ledger: Path, max_files: int | None) -> list[FileVerdict]:
    """All files; or those that a person has to look at first, in the order of the ledger."""
    numbered = enumerate(_read_files(ledger))
    if max_files is None:
        return [row for _, row in numbered]
    chosen = heapq.nsmallest(max_files, numbered, key=lambda pair: (*_rank(pair[1]), pair[0]))
    return [row for _, row in chosen]


def _rank(row: FileVerdict) -> tuple[int, int]:
    return _ORDER[row.verdict], 0 if row.reason or row.num_secrets_masked else 1


def _read_files(ledger: Path) -> Iterator[FileVerdict]:
    return (FileVerdict.model_validate_json(line) for line in _read_lines(ledger))


def _read_boilerplate(run: Path, corpus: Corpus) -> Iterator[BoilerplateText]:
    """Counts of the lines that were taken out, never their text."""
    if not corpus.boilerplate_file:
        return
    for line in itertools.islice(_read_lines(run / corpus.boilerplate_file), MAX_BOILERPLATE):
        row = json.loads(line)
        yield BoilerplateText(num_files=row["num_files"], num_characters=len(row["text"]))


def _read_lines(path: Path) -> Iterator[str]:
    """Lines of a file; none where it is missing: the run is another's, or of another version."""
    try:
        with path.open(encoding="utf-8") as lines:
            yield from lines
    except FileNotFoundError:
        return
