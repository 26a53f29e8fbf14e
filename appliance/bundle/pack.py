"""Everything that is needed to run a tuned model elsewhere, in one folder.

The folder itself loads in ONNX Runtime GenAI. Beside the model lie the reports (numbers only: no
text, question, answer or file name of a document), the model card and the manifest. Only where the
recipe asks for a search index does the bundle hold text and names of the documents.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from appliance import __version__, search
from appliance.bundle.attest import seal, write_statement
from appliance.bundle.bom import BOM, write_bom
from appliance.bundle.card import write_card
from appliance.bundle.entries import list_entries
from appliance.bundle.keys import load_signing_key, locate_keys
from appliance.bundle.manifest import ATTESTATION, MANIFEST, VERDICT, Manifest, list_files
from appliance.bundle.provenance import DOCUMENTS, describe_build, list_documents
from appliance.errors import ExportError
from appliance.files import hash_file, sync, write_text
from appliance.recipe import Recipe
from appliance.reports.write import write_public
from appliance.rundir import StageFolder
from appliance.search.cut import cut_documents
from appliance.search.index import build_index
from appliance.values import (
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    Document,
    EvalReport,
    OnnxModel,
    ParityReport,
    TrainPlan,
    TunedModel,
    Verdict,
)

_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
"""Files of a base model that have to go where its weights go."""


def pack(
    onnx: OnnxModel,
    base: BaseSpec,
    plan: TrainPlan,
    tuned: TunedModel,
    report: EvalReport,
    parity: ParityReport,
    corpus: Corpus,
    dataset: Dataset,
    verdict: Verdict,
    recipe: Recipe,
    stage: StageFolder,
    *,
    read_clock: Callable[[], float] = time.time,
) -> Bundle:
    """Put the bundle together in the folder of its stage: manifest and attestation come last.

    It is signed when this user has a key (`keys.py`).

    Args:
        onnx: the model that ships.
        base: what it was tuned from.
        plan: how it was to be tuned.
        tuned: how it was tuned.
        report: base against tuned.
        parity: how the shipped model compares with the tuned one.
        corpus: counts of the documents.
        dataset: counts of the examples.
        verdict: whether to use the model, and whether it is packed against that.
        recipe: what a person decided.
        stage: where to write.
        read_clock: seconds since 1970.

    Returns:
        The bundle.

    Raises:
        ExportError: the ONNX folder is not the one that passed parity.
        BundleError: the signing key cannot be used.
    """
    if onnx.precision != parity.shipped:
        raise ExportError(
            f"the model to pack is {onnx.precision}, parity was shown for {parity.shipped}",
            why="only a model that passed its gates is packed",
            fix="start the same command again",
        )
    folder = stage.folder
    _clear(folder)
    for path in sorted(stage.open(onnx.folder).iterdir()):
        _place(path, folder / path.name)
    for name in _LICENCE_FILES:
        source = Path(base.folder) / name
        if source.is_file():
            shutil.copyfile(source, folder / f"BASE_{name}")
    has_text = recipe.bundle.search == "yes"
    if has_text:
        build_index(folder / search.FILE_NAME, cut_documents(_read_documents(stage, corpus)))
    _write_reports(folder / "reports", plan, tuned, report, parity, corpus, dataset)
    _write_json(folder / VERDICT, verdict.model_dump(mode="json"))
    write_public(stage.run, folder)
    card = write_card(
        onnx, base, plan, tuned, report, parity, corpus, dataset, verdict, has_text=has_text
    )
    write_text(folder / "MODEL_CARD.md", card)
    created = datetime.datetime.fromtimestamp(read_clock(), datetime.UTC).isoformat(
        timespec="seconds"
    )
    left_out = recipe.documents.without
    _write_json(folder / DOCUMENTS, list_documents(stage.open(corpus.ledger_file), left_out))
    documents_sha256 = hash_file(folder / DOCUMENTS)
    bom = write_bom(
        base, tuned, report, corpus, dataset, documents_sha256, created, has_text=has_text
    )
    _write_json(folder / BOM, bom)
    for _, path in list_files(folder):
        sync(path)
    manifest = Manifest(
        product_version=__version__,
        created=created,
        base=base.name,
        licence=base.licence,
        method=tuned.method,
        precision=onnx.precision,
        files=list_entries(folder),
        has_documents_text=has_text,
    )
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    manifest_sha256 = hash_file(folder / MANIFEST)
    provenance = describe_build(recipe, plan, base, verdict, documents_sha256, created)
    statement = write_statement(manifest_sha256, provenance)
    write_text(folder / ATTESTATION, seal(statement, load_signing_key(locate_keys())))
    return Bundle(
        folder=stage.name,
        manifest_sha256=manifest_sha256,
        num_bytes=manifest.num_bytes,
    )


def _clear(folder: Path) -> None:
    """Remove what an interrupted attempt left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _place(source: Path, target: Path) -> None:
    """Give a file a second name, for models are large; copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _read_documents(stage: StageFolder, corpus: Corpus) -> Iterator[Document]:
    with stage.open(corpus.documents_file).open(encoding="utf-8") as lines:
        for line in lines:
            yield Document.model_validate_json(line)


def _write_reports(
    folder: Path,
    plan: TrainPlan,
    tuned: TunedModel,
    report: EvalReport,
    parity: ParityReport,
    corpus: Corpus,
    dataset: Dataset,
) -> None:
    """One file a subject; what names a file or a folder of the run is left out."""
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    reports: dict[str, dict[str, Any]] = {
        "plan": plan.model_dump(mode="json"),
        "tuning": tuned.model_dump(mode="json", exclude={"folder"}),
        "evaluation": report.model_dump(mode="json", exclude={"answers_file"}),
        "parity": parity.model_dump(mode="json"),
        "ledger": {
            "corpus": corpus.model_dump(
                mode="json",
                exclude={"documents_file", "ledger_file", "boilerplate_file", "sha256"},
            ),
            "dataset": dataset.model_dump(
                mode="json",
                exclude={"questions_file", "ledger_file", "sha256", *splits},
            ),
            "splits": {
                name: split.model_dump(mode="json", exclude={"folder"})
                for name, split in splits.items()
            },
        },
    }
    folder.mkdir()
    for name, body in reports.items():
        _write_json(folder / f"{name}.json", body)
    sync(folder)


def _write_json(path: Path, body: object) -> None:
    write_text(path, json.dumps(body, indent=1) + "\n")
