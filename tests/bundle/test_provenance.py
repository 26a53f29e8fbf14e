"""Bill of materials, list of documents: valid by the standard's schema, silent about text."""

import base64
import json
from importlib import resources

import pytest
from jsonschema import Draft7Validator
from packed_bundle import BASE, PLAN, SECRET, VERDICT
from referencing import Registry, Resource

from appliance.bundle.provenance import describe_build, list_documents
from appliance.files import hash_file
from appliance.recipe import DocumentsRecipe, Recipe
from appliance.values import FileVerdict


def read(packed, name):
    return json.loads((packed / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator():
    """The standard's own schema, as its makers ship it."""
    folder = resources.files("cyclonedx.schema") / "_res"

    def load(name):
        return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))

    beside = {
        f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json": Resource.from_contents(
            load(name)
        )
        for name in ("spdx", "jsf-0.82")
    }
    return Draft7Validator(load("bom-1.6"), registry=Registry().with_resources(beside.items()))


def test_bill_of_materials_is_valid_by_the_schema(packed, validator):
    faults = [
        fault.message for fault in validator.iter_errors(read(packed, "reports/bom.cdx.json"))
    ]
    assert faults == []


def test_schema_would_refuse_a_wrong_bill(packed, validator):
    bom = read(packed, "reports/bom.cdx.json")
    bom["metadata"]["component"]["type"] = "model"
    assert not validator.is_valid(bom)


def test_bill_names_base_data_and_software_by_hash_and_version(packed):
    bom = read(packed, "reports/bom.cdx.json")
    parts = {part["bom-ref"]: part for part in bom["components"]}
    assert parts["base"]["hashes"] == [{"alg": "SHA-256", "content": BASE.sha256}]
    assert parts["base"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    documents = hash_file(packed / "reports/documents.json")
    assert parts["documents"]["hashes"] == [{"alg": "SHA-256", "content": documents}]
    names = {part["name"] for part in parts.values() if part["type"] == "library"}
    assert {"torch", "transformers", "onnxruntime-genai"} <= names
    assert {ref for row in bom["dependencies"] for ref in row["dependsOn"]} == set(parts)


def test_documents_are_listed_by_hash_in_no_telling_order(packed):
    assert read(packed, "reports/documents.json") == [
        {"sha256": "a" * 64, "num_bytes": 800, "verdict": "duplicate"},
        {"sha256": "b" * 64, "num_bytes": 900, "verdict": "used"},
    ]


def test_attestation_tells_the_recipe_without_the_words_to_mask(packed):
    envelope = read(packed, "attestation.json")
    statement = base64.b64decode(envelope["payload"]).decode()
    build = json.loads(statement)["predicate"]["buildDefinition"]
    assert SECRET not in statement
    assert build["externalParameters"]["recipe"]["documents"]["mask_words"] == "1 entries"
    assert build["internalParameters"]["plan"]["method"] == "qlora"
    digests = {row["name"]: row["digest"]["sha256"] for row in build["resolvedDependencies"]}
    assert digests == {
        "embedded": BASE.sha256,
        "reports/documents.json": hash_file(packed / "reports/documents.json"),
    }


def test_attestation_tells_what_was_left_out_by_hash_alone():
    recipe = Recipe(documents=DocumentsRecipe(without=("c" * 64,)))
    told = describe_build(recipe, PLAN, BASE, VERDICT, "0" * 64, "2026-11-23T00:00:00+00:00")
    parameters = told["buildDefinition"]["externalParameters"]["recipe"]["documents"]
    assert parameters["without"] == ["c" * 64]


def test_file_that_was_left_out_is_not_listed(tmp_path):
    rows = [
        FileVerdict(path=f"{letter}.md", verdict="skipped", sha256=letter * 64) for letter in "ab"
    ]
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    assert [row["sha256"] for row in list_documents(ledger, ("a" * 64,))] == ["b" * 64]
