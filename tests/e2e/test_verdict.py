"""A model that the verdict is against leaves no bundle, unless a person insists: that is told."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from appliance.events import Line, StageFinished, StageStarted, decode_event
from appliance.jobs import REQUEST, JobRequest
from tests.e2e.conftest import SMALL, run_appliance


@pytest.fixture(scope="module")
def refused(finished, small_base, documents, tmp_path_factory):
    """The finished run, as if its evaluation had shown nothing, asked for once more."""
    runs = tmp_path_factory.mktemp("refused") / "runs"
    shutil.copytree(Path(finished["run"]).parent, runs)
    run = runs / Path(finished["run"]).name
    receipt = run / "receipts" / "evaluate.json"
    body = json.loads(receipt.read_text())
    body["value"]["improvement_low"] = -0.01
    receipt.write_text(json.dumps(body))
    shutil.rmtree(run / "bundle")
    (run / "receipts" / "bundle.json").unlink()
    command = ("tune", documents, "--base", small_base, "--runs", runs, *SMALL)
    return run, command, run_appliance(*command)


@pytest.mark.slow
def test_verdict_against_a_model_leaves_no_bundle(refused):
    run, _, done = refused
    assert done.returncode == 9, done.stderr
    assert "Verdict    do not deploy: it is not surely better than the base" in done.stdout
    assert "the verdict is against this model" in done.stderr
    assert "--force" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (run / "bundle").exists()
    assert json.loads((run / "verdict" / "verdict.json").read_text())["decision"] == (
        "do not deploy"
    )


@pytest.mark.slow
def test_force_only_packs_and_the_bundle_says_so(refused):
    run, command, _ = refused
    lines = (run / "events.jsonl").read_text().splitlines()

    done = run_appliance(*command, "--force", "--set", "bundle.search=yes", "--json")

    assert done.returncode == 0, done.stderr
    events = [
        decode_event(line) for line in (run / "events.jsonl").read_text().splitlines()[len(lines) :]
    ]
    assert [e.stage for e in events if isinstance(e, StageStarted)] == ["verdict", "bundle"]
    assert "tune" in [e.stage for e in events if isinstance(e, StageFinished) and e.restored]
    assert any(isinstance(e, Line) and e.label == "Verdict" for e in events)
    verdict = json.loads(done.stdout)["verdict"]
    assert json.loads((run / "receipts" / "verdict.json").read_text())["value"] == verdict
    assert (verdict["decision"], verdict["is_forced"]) == ("do not deploy", True)
    bundle = run / "bundle"
    assert json.loads((bundle / "reports" / "verdict.json").read_text()) == verdict
    envelope = json.loads((bundle / "attestation.json").read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    facts = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert facts["verdict"]["is_forced"] is True
    request = JobRequest.model_validate_json((run / REQUEST).read_text())
    assert request.force and request.documents == str(command[1])
    assert (bundle / "search.db").exists(), "another wish about the bundle is the same run"
    assert "a person insisted" in (bundle / "MODEL_CARD.md").read_text()
