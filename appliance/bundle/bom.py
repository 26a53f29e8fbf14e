"""Bill of materials of a bundle: the model, its base, its data and the software behind it.

Source: CycloneDX 1.6, the parts for machine learning (`machine-learning-model`, `modelCard`,
`data`). Numbers and hashes only; nothing of a document can get into it.
"""

from __future__ import annotations

import uuid
from importlib import metadata
from typing import Any

from appliance import __version__, search
from appliance.values import BaseSpec, Corpus, Dataset, EvalReport, TunedModel

SPEC_VERSION = "1.6"

BOM = "reports/bom.cdx.json"
"""Name of the bill of materials inside a bundle."""

SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "gpl-3.0": "GPL-3.0-only",
}
"""Licences of bases that have a name in the SPDX list; others stand as their makers call them."""

SOFTWARE = (
    "torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy", "onnx",
    "onnxruntime", "onnxruntime-genai",
)  # fmt: skip
"""Packages whose computations are in the model."""

_MODEL, _BASE, _DATA = "model", "base", "documents"


def write_bom(
    base: BaseSpec,
    tuned: TunedModel,
    report: EvalReport,
    corpus: Corpus,
    dataset: Dataset,
    documents_sha256: str,
    created: str,
    *,
    has_text: bool,
) -> dict[str, Any]:
    """A CycloneDX bill of materials.

    Args:
        base: what was tuned.
        tuned: how.
        report: base against tuned.
        corpus: counts of the documents.
        dataset: counts of the examples.
        documents_sha256: of the list of documents.
        created: UTC, ISO 8601.
        has_text: whether the bundle carries the documents' text, in its search index.
    """
    software = [_describe_package(name) for name in SOFTWARE if _find_version(name)]
    known = (_MODEL, base.sha256, documents_sha256, created)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, ":".join(known)).urn,
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": {
                "components": [{"type": "application", "name": "appliance", "version": __version__}]
            },
            "component": _describe_model(base, tuned, report),
        },
        "components": [
            _describe_base(base),
            _describe_data(corpus, dataset, documents_sha256, has_text=has_text),
            *software,
        ],
        "dependencies": [
            {
                "ref": _MODEL,
                "dependsOn": [_BASE, _DATA, *(package["bom-ref"] for package in software)],
            }
        ],
    }


def _describe_model(base: BaseSpec, tuned: TunedModel, report: EvalReport) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": f"{base.name}, tuned",
        "licenses": _describe_licence(base.licence),
        "pedigree": {"ancestors": [{"type": "machine-learning-model", "name": base.name}]},
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "text-generation",
                "architectureFamily": base.model_type,
                "modelArchitecture": base.architecture,
                "datasets": [{"ref": _DATA}],
                "inputs": [{"format": "text"}],
                "outputs": [{"format": "text"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": _list_metrics(report)},
            "considerations": {
                "technicalLimitations": [
                    "judged on documents of the same folder only; may have forgotten the rest",
                    "can state falsehoods fluently",
                    "was trained on private text and can repeat passages of it",
                ]
            },
        },
        "properties": [{"name": "appliance:method", "value": tuned.method}],
    }


def _list_metrics(report: EvalReport) -> list[dict[str, Any]]:
    """What the evaluation measured, for the base and for the tuned model."""
    metrics: list[dict[str, Any]] = [
        {"type": name, "value": f"{value:.6g}", "slice": f"held-out documents, {model} model"}
        for model, score in (("base", report.base), ("tuned", report.tuned))
        for name, value in (
            ("loss in nats per token", score.loss),
            ("bits per byte", score.bits_per_byte),
            ("answer F1", score.answer_f1),
        )
        if value is not None
    ]
    interval = {
        "lowerBound": f"{report.improvement_low:.6g}",
        "upperBound": f"{report.improvement_high:.6g}",
    }
    improvement = {
        "type": "improvement of the loss, as a share",
        "value": f"{report.improvement:.6g}",
        "confidenceInterval": interval,
    }
    return [*metrics, improvement]


def _describe_base(base: BaseSpec) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _BASE,
        "name": base.name,
        "licenses": _describe_licence(base.licence),
        "hashes": [{"alg": "SHA-256", "content": base.sha256}],
        "properties": [{"name": "appliance:parameters", "value": str(base.num_parameters)}],
    }


def _describe_data(
    corpus: Corpus, dataset: Dataset, sha256: str, *, has_text: bool
) -> dict[str, Any]:
    where = (
        f"their text and names are in {search.FILE_NAME}" if has_text else "no text and no names"
    )
    counts = {
        "files": corpus.num_files,
        "documents": corpus.num_documents,
        "characters": corpus.num_characters,
        "masked": corpus.num_secrets_masked,
        "training-tokens": dataset.train.num_tokens,
    }
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": "private documents",
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "data": [
            {
                "type": "dataset",
                "name": "private documents",
                "classification": "confidential",
                "description": f"listed by hash in reports/documents.json; {where}",
            }
        ],
        "properties": [
            *({"name": f"appliance:{name}", "value": str(count)} for name, count in counts.items()),
            {"name": "appliance:contains-text", "value": str(has_text).lower()},
        ],
    }


def _describe_package(name: str) -> dict[str, Any]:
    version = _find_version(name)
    component = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "purl": f"pkg:pypi/{name}@{version.replace('+', '%2B')}",
        "name": name,
        "version": version,
    }
    about = metadata.metadata(name)
    if "License-Expression" not in about:
        return component
    return component | {"licenses": [{"expression": about["License-Expression"]}]}


def _find_version(name: str) -> str:
    """Version of an installed package; "" when it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _describe_licence(name: str) -> list[dict[str, Any]]:
    if not name:
        return []
    spdx = SPDX.get(name.lower())
    return [{"license": {"id": spdx} if spdx else {"name": name}}]
