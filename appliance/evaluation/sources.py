"""Held-out loss by source: by folder and by kind of file. Names of folders stay in the run."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from appliance.evaluation.scores import ExampleScores
from appliance.files import write_text
from appliance.rundir import StageFolder

FILE_NAME = "sources.jsonl"
"""In the folder of the stage; private, for folders have names."""

NO_FILE = "(refusals)"
"""Where questions stand that no document answers: they are from no file."""


def keep_sources(
    stage: StageFolder, sources_file: Path, base: ExampleScores, tuned: ExampleScores
) -> None:
    """Write one line a folder and one a kind of file: losses and bits per byte, before and after.

    Args:
        stage: of the evaluation.
        sources_file: of the dataset: the file of every document of the test split.
        base: scores of the untouched model.
        tuned: of the tuned one, on the same examples.
    """
    sources = json.loads(sources_file.read_text(encoding="utf-8"))
    names = [sources.get(str(number)) for number in base.documents_E.tolist()]
    paths = [PurePosixPath(name) if name else None for name in names]
    folders = [_name_folder(path) if path else NO_FILE for path in paths]
    kinds = [path.suffix.lower() or "none" if path else NO_FILE for path in paths]
    rows = [
        {"group": group, "name": name, **_compare(name, members, base, tuned)}
        for group, members in (("folder", folders), ("kind", kinds))
        for name in sorted(set(members))
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(stage.folder / FILE_NAME, lines)


def _name_folder(path: PurePosixPath) -> str:
    return path.parts[0] if len(path.parts) > 1 else "."


def _compare(
    name: str, names: list[str], base: ExampleScores, tuned: ExampleScores
) -> dict[str, float | int | None]:
    chosen = np.array([other == name for other in names])
    before, after = _take(base, chosen), _take(tuned, chosen)
    return {
        "num_documents": len(np.unique(before.documents_E)),
        "num_labels": int(before.labels_E.sum()),
        "base_loss": before.mean_loss(),
        "tuned_loss": after.mean_loss(),
        "base_bits_per_byte": before.bits_per_byte(),
        "tuned_bits_per_byte": after.bits_per_byte(),
    }


def _take(scores: ExampleScores, chosen: npt.NDArray[np.bool_]) -> ExampleScores:
    return ExampleScores(
        nats_E=scores.nats_E[chosen],
        labels_E=scores.labels_E[chosen],
        bytes_E=scores.bytes_E[chosen],
        documents_E=scores.documents_E[chosen],
        kinds_E=scores.kinds_E[chosen],
    )
