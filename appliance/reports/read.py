"""A run or a bundle, read into one value: receipts, events, ledgers, and where it was made.

A run is read as it stands: finished, refused, stopped, or in the middle of a stage. What was made
by another version of the program, and no longer fits its value, is told figure by figure.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from appliance.errors import BundleError, UsageError
from appliance.reports.curves import (
    EVENTS,
    TRAINING_STAGES,
    draw_curves,
    find_ending,
    list_reached,
    read_events,
)
from appliance.reports.ledgers import sum_documents, sum_tokens
from appliance.reports.origin import read_origin
from appliance.reports.record import Curves, DocumentsLedger, RunReport, StageDone, TokenLedger
from appliance.values import (
    BaseChoice,
    Bundle,
    Corpus,
    Dataset,
    EvalReport,
    LeakReport,
    MergedModel,
    ProvenModel,
    TextDataset,
    TrainPlan,
    TunedModel,
    TuneResult,
    Value,
    Verdict,
)

V = TypeVar("V", bound=Value)

REPORT = "reports/report.json"
"""Name of the report inside a bundle."""

MAX_FILES = 300
"""Files that a page tells one by one."""

_PLACES = ("folder", "path", "run", "bundle")
"""Fields of values that name a place on this machine; so do all that end in `_file`, `_folder`."""


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return (path / EVENTS).is_file() or (path / "receipts").is_dir()


def read_report(path: Path, max_files: int | None = MAX_FILES) -> RunReport:
    """The report of a run, or the one that lies in a bundle.

    Args:
        path: of either.
        max_files: told one by one; None for all.

    Raises:
        UsageError: it is neither.
        BundleError: the bundle has no report, or a broken one.
    """
    if is_run(path):
        return read_run(path, max_files)
    if (path / "manifest.json").is_file():
        return read_bundle(path)
    raise UsageError(
        f"{path} is neither a run nor a bundle",
        why="nothing has this name"
        if not path.exists()
        else "it holds no receipts and no manifest",
        fix="name a folder below runs/, or a bundle; without a name the machine is told",
    )


def read_run(path: Path, max_files: int | None = MAX_FILES) -> RunReport:
    """All that is known of a run, in the private form.

    Args:
        path: its folder.
        max_files: files told one by one; None for all, 0 for none.
    """
    events = read_events(path)
    begun, done = list_reached(events)
    receipts = _read_receipts(path)
    stages = tuple(row for row in receipts if row.name in done or not begun)
    state, ending, result = find_ending(events)
    corpus = _find(stages, Corpus, "corpus")
    text = _find(stages, TextDataset, "text")
    dataset = _find(stages, Dataset, "dataset") or (text.dataset if text else None)
    base = _find(stages, BaseChoice, "pretrained-base") or _find(stages, BaseChoice, "base")
    judged = _find(stages, EvalReport, "judge")
    told = _validate(TuneResult, json.loads(result)) if result else None
    return RunReport(
        form="private",
        name=path.absolute().name,
        folder=str(path.absolute()),
        made_at=time.time(),
        state=state,
        ending=ending,
        origin=read_origin(path),
        corpus=corpus,
        base=base.spec if base else None,
        dataset=dataset,
        plan=_find(stages, TrainPlan, "plan") or _find(stages, TrainPlan, "pretrain-plan"),
        tuned=_find(stages, TunedModel, "tune") or _find(stages, TunedModel, "pretrain"),
        evaluation=_find(stages, EvalReport, "evaluate") or judged,
        pretraining=judged,
        leaks=_find_any(stages, LeakReport) or (told.leaks if told else None),
        verdict=_find_any(stages, Verdict) or (told.verdict if told else None),
        merged=_find(stages, MergedModel, "merge"),
        proven=_find(stages, ProvenModel, "parity"),
        bundle=_find(stages, Bundle, "bundle"),
        result=told,
        curves=draw_curves(events) if begun.intersection(TRAINING_STAGES) else Curves(),
        documents=sum_documents(path, corpus, max_files) if corpus else DocumentsLedger(),
        tokens=sum_tokens(path / dataset.ledger_file) if dataset else TokenLedger(),
        stages=stages,
    )


def read_bundle(folder: Path) -> RunReport:
    """The report that was packed into a bundle.

    Raises:
        BundleError: there is none, or it is broken.
    """
    try:
        return RunReport.model_validate_json((folder / REPORT).read_bytes())
    except FileNotFoundError as exc:
        why, cause = f"it holds no {REPORT}: an earlier version made it", exc
        raise BundleError("the bundle has no report", why=why, fix="make it again") from cause
    except (OSError, ValidationError) as exc:
        raise BundleError(
            "the report of the bundle cannot be read",
            why=str(exc).splitlines()[0],
            fix="copy the bundle again from where it was made; appliance verify tells what differs",
        ) from exc


def publish(report: RunReport) -> RunReport:
    """The public form of a report: no name of a file, a folder, a run or a machine."""
    body = _strip(report.model_dump(mode="json", exclude={"result": True}))
    body |= {"form": "public", "name": "", "folder": "", "result": None}
    body["documents"] |= {"files": [], "num_files_left_out": 0}
    return RunReport.model_validate(body)


def _strip(body: Any) -> Any:
    """A value without the places on this machine that it names."""
    if isinstance(body, dict):
        return {
            name: "" if isinstance(each, str) and _names_a_place(name) else _strip(each)
            for name, each in body.items()
        }
    if isinstance(body, list):
        return [_strip(each) for each in body]
    return body


def _names_a_place(field: str) -> bool:
    return field in _PLACES or field.endswith(("_file", "_folder"))


def _read_receipts(run: Path) -> list[StageDone]:
    """Receipts of a run, in the order in which they were written."""
    found = []
    for path in (run / "receipts").glob("*.json"):
        if path.name.endswith(".started.json"):
            continue
        try:
            receipt = json.loads(path.read_text(encoding="utf-8"))
            stage = StageDone.model_validate(receipt | {"name": path.stem})
            found.append((path.stat().st_mtime_ns, stage))
        except (OSError, ValueError, TypeError):  # torn, or of another version
            continue
    return [stage for _, stage in sorted(found, key=lambda row: (row[0], row[1].name))]


def _find(stages: tuple[StageDone, ...], kind: type[V], name: str) -> V | None:
    return next((_validate(kind, stage.value) for stage in stages if stage.name == name), None)


def _find_any(stages: tuple[StageDone, ...], kind: type[V]) -> V | None:
    """The last value of a kind, whichever stage made it: it may stand inside another value."""
    found = None
    for stage in stages:
        for each in (stage.value, *stage.value.values()):
            if isinstance(each, dict) and each.keys() >= _list_required(kind):
                found = _validate(kind, each) or found
    return found


def _list_required(kind: type[Value]) -> set[str]:
    return {name for name, field in kind.model_fields.items() if field.is_required()}


def _validate(kind: type[V], body: dict[str, Any]) -> V | None:
    try:
        return kind.model_validate(body)
    except ValidationError:
        return None
