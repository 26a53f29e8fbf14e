"""What a bundle tells about itself: the verdict it was packed under, and whose text it holds."""

import base64
import json

import pytest
from click.testing import CliRunner
from exported_model import TEXTS, build
from packed_bundle import NAMES, SECRET, VERDICT, get_search_bundle, make_other_stage, pack_again

from appliance.bundle.verify import read_verdict, verify_bundle
from appliance.cli.verify import verify
from appliance.errors import BundleError
from appliance.search.index import Index


def read_statement(folder):
    envelope = json.loads((folder / "attestation.json").read_text())
    return json.loads(base64.b64decode(envelope["payload"]))


def test_bundle_carries_its_verdict(packed):
    assert read_verdict(packed) == VERDICT
    build_facts = read_statement(packed)["predicate"]["buildDefinition"]["internalParameters"]
    assert build_facts["verdict"] == VERDICT.model_dump(mode="json")
    card = (packed / "MODEL_CARD.md").read_text()
    assert VERDICT.sentence in card
    assert "| better than the base | passed | 9.0 % | above 0 % |" in card
    assert "\nNot measured: does not leak.\n" in card
    assert "insisted" not in card


def test_bundle_packed_against_its_verdict_says_so_everywhere(tmp_path):
    stage = make_other_stage(tmp_path)
    forced = VERDICT.model_copy(update={"decision": "do not deploy", "is_forced": True})
    pack_again(build("int4"), stage, verdict=forced)
    statement = read_statement(stage.folder)["predicate"]["buildDefinition"]
    assert statement["internalParameters"]["verdict"]["is_forced"] is True
    assert "a person insisted" in (stage.folder / "MODEL_CARD.md").read_text()
    assert read_verdict(stage.folder).is_forced
    assert "packed against this verdict" in CliRunner().invoke(verify, [str(stage.folder)]).output


def test_bundle_of_an_earlier_version_has_no_verdict(bundle):
    (bundle / "reports" / "verdict.json").unlink()
    assert read_verdict(bundle) is None


def test_verdict_that_cannot_be_read_is_refused(bundle):
    (bundle / "reports" / "verdict.json").write_text('{"decision": "perhaps"}')
    with pytest.raises(BundleError, match=r"reports/verdict\.json") as caught:
        read_verdict(bundle)
    assert caught.value.why and caught.value.fix


def test_bundle_holds_no_index_unless_it_was_asked_for(packed):
    assert not (packed / "search.db").exists()
    assert verify_bundle(packed).has_documents_text is False
    assert "search.db" not in (packed / "MODEL_CARD.md").read_text()
    body = json.loads(CliRunner().invoke(verify, [str(packed), "--json"]).output)
    assert (body["has_documents_text"], body["verdict"]["decision"]) == (False, "deploy")


def test_bundle_with_search_finds_the_documents_and_says_that_it_holds_them():
    folder = get_search_bundle()
    manifest = verify_bundle(folder)
    assert manifest.has_documents_text
    assert "search.db" in {entry.path for entry in manifest.files}
    index = Index(folder / "search.db")
    try:
        (found, *_) = index.find("How is the pump started?", 3)
    finally:
        index.close()
    assert found.source == NAMES[1] and found.text.endswith(TEXTS[1])
    assert "**This bundle contains the text of the documents**" in (
        (folder / "MODEL_CARD.md").read_text()
    )
    bom = json.loads((folder / "reports" / "bom.cdx.json").read_text())
    (data,) = (part for part in bom["components"] if part["bom-ref"] == "documents")
    assert {"name": "appliance:contains-text", "value": "true"} in data["properties"]
    assert "search.db" in data["data"][0]["description"]
    said = CliRunner().invoke(verify, [str(folder)]).output
    assert "search.db holds the text of the documents" in said


def test_bundle_with_search_holds_text_in_the_index_alone():
    folder = get_search_bundle()
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".md", ".jinja"):
            content = path.read_text(encoding="utf-8")
            assert not any(secret in content for secret in (SECRET, NAMES[0], TEXTS[0][:40])), path
