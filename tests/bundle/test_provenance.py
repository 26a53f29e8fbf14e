"""Bill of materials, list of documents: valid by the standard's schema, silent about text."""

import base64
import json
from importlib import resources

import pytest
from jsonschema import Draft7Validator
from packed_bundle import BASE, SECRET
from referencing import Registry, Resource

from appliance.files import hash_file


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
