"""The embedded base, exported once for all tests that need a graph."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from appliance.events import ignore_event
from appliance.export.onnx import export_onnx
from appliance.rundir import StageFolder
from appliance.values import ExportChoice, MergedModel, OnnxModel, Precision

EMBEDDED = Path(__file__).parents[2] / "appliance" / "bases" / "embedded"

TEXTS = (
    "Employees may take thirty days of leave in a year. Leave that is not taken by the end of "
    "March of the following year is lost, unless illness was the reason. Requests go to the head "
    "of the department, who answers within a week. Whoever is ill sends a note on the third day.",
    "The pump is started with the green button. Before it is started, both valves are opened and "
    "the pressure is read; it must lie between two and four bar. A pressure above six bar means "
    "that the filter is blocked. It is changed every six months, or after a thousand hours.",
    "A contract that was made by telephone can be revoked within two weeks. The time begins with "
    "the day on which the goods arrive. It is enough to send a letter in time; a reason is not "
    "needed. The seller pays back what was paid, within fourteen days, and gets the goods back.",
)
"""Three documents."""


def make_stage(folder: Path, name: str) -> StageFolder:
    """A stage as `RunDir` would make it, working in `folder/name`."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    return StageFolder(
        name=name,
        folder=folder / name,
        run=folder,
        on_event=ignore_event,
        should_stop=lambda: False,
    )


def describe_merged(folder: Path) -> MergedModel:
    return MergedModel(folder=str(folder), merged_into="none", losses={}, num_bytes=0)


@functools.cache
def get_run() -> Path:
    """A run's folder that lives as long as the tests; the handle removes it at exit."""
    handle = tempfile.TemporaryDirectory()
    get_run.handle = handle  # type: ignore[attr-defined]
    return Path(handle.name)


@functools.cache
def build(precision: Precision) -> OnnxModel:
    """The embedded base in a precision; `get_run() / model.folder` is where it lies."""
    stage = make_stage(get_run(), f"export-{precision}")
    return export_onnx(describe_merged(EMBEDDED), ExportChoice(precision=precision), stage)


def get_folder(precision: Precision) -> Path:
    return get_run() / build(precision).folder
