"""Where a bundle came from: the documents by hash, and how the model was made from them.

Source: SLSA provenance v1 (what was asked, what went in, who built it).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.recipe import Recipe
from appliance.values import BaseSpec, FileVerdict, TrainPlan, Verdict

BUILD_TYPE = "urn:appliance:tune:1"
DOCUMENTS = "reports/documents.json"
"""Name of the list of documents inside a bundle."""


def list_documents(ledger: Path, left_out: Collection[str]) -> list[dict[str, Any]]:
    """Every file that was seen, by hash, without its name: who has the file can find it.

    Args:
        ledger: JSON lines of FileVerdict.
        left_out: hashes of files that must not be used: they are not there, as if never seen.

    Returns:
        Rows sorted by hash, so that the order tells nothing either.
    """
    with ledger.open(encoding="utf-8") as lines:
        verdicts = [FileVerdict.model_validate_json(line) for line in lines]
    rows = [
        {"sha256": verdict.sha256, "num_bytes": verdict.num_bytes, "verdict": verdict.verdict}
        for verdict in verdicts
        if verdict.sha256 and verdict.sha256 not in left_out
    ]
    return sorted(rows, key=lambda row: (row["sha256"], row["verdict"]))


def describe_build(
    recipe: Recipe,
    plan: TrainPlan,
    base: BaseSpec,
    verdict: Verdict,
    documents_sha256: str,
    created: str,
) -> dict[str, Any]:
    """The SLSA predicate.

    Args:
        recipe: what a person decided; names and code words in it are left out.
        plan: what was decided from it.
        base: what was tuned.
        verdict: whether to use the result, and whether it was packed against that.
        documents_sha256: of the list of documents.
        created: UTC, ISO 8601.
    """
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"recipe": _publish_recipe(recipe)},
            "internalParameters": {
                "plan": plan.model_dump(mode="json"),
                "verdict": verdict.model_dump(mode="json"),
            },
            "resolvedDependencies": [
                {
                    "name": base.name,
                    "digest": {"sha256": base.sha256},
                    "annotations": {"licence": base.licence},
                },
                {"name": DOCUMENTS, "digest": {"sha256": documents_sha256}},
            ],
        },
        "runDetails": {
            "builder": {"id": f"urn:appliance:{__version__}"},
            "metadata": {"finishedOn": created},
        },
    }


def _publish_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe without what a person wanted masked: those are the very words to keep secret."""
    body: dict[str, Any] = recipe.model_dump(mode="json")
    for key in ("mask_words", "mask_except"):
        body["documents"][key] = f"{len(body['documents'][key])} entries"
    return body
