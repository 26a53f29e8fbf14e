"""`appliance keys` and `appliance verify --signed`, from one machine to another."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from appliance.cli.keys import keys
from appliance.cli.verify import verify
from appliance.errors import BundleError, UsageError
from tests.conftest import ROOT


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Say on which machine the next command runs: each has keys of its own."""

    def use(name):
        monkeypatch.setenv("APPLIANCE_KEYS", str(tmp_path / name))

    use("maker")
    return use


def run(verb, *arguments):
    result = CliRunner().invoke(verb, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_signed_bundle_is_believed_on_another_machine(bundle, machine, tmp_path):
    run(keys, "create")
    pem = tmp_path / "our box.pem"
    pem.write_text(run(keys, "export"))
    assert "this user" in run(keys, "sign", bundle)

    machine("buyer")
    assert "which is not trusted here" in run(verify, bundle)
    with pytest.raises(BundleError, match="not signed by anybody you trust"):
        run(verify, bundle, "--signed")
    run(keys, "trust", pem)

    body = json.loads(run(verify, bundle, "--signed", "--json"))
    assert body["signed_by"] == ["our box"]
    assert body["intact"] is True
    assert json.loads(run(keys, "list", "--json"))["keys"][0]["name"] == "our box"


def test_without_keys_everything_says_so(bundle, machine):
    assert "none: bundles are not signed here" in run(keys, "list")
    with pytest.raises(UsageError, match="no key to export"):
        run(keys, "export")
    with pytest.raises(UsageError, match="no key to sign with"):
        run(keys, "sign", bundle)
    assert json.loads(run(verify, bundle, "--json"))["signed_by"] == []


def test_trust_of_a_missing_file_says_what_to_name(machine, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        run(keys, "trust", tmp_path / "nothing.pem")


def test_verify_needs_neither_torch_nor_memory_for_the_weights(bundle, machine):
    """Weights of 512 MiB, most of them a hole, in an address space of 400."""
    code = """
import resource, sys
from appliance.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))
try:
    main(["verify", sys.argv[1]])
finally:
    assert not {"torch", "onnxruntime", "transformers", "numpy"} & set(sys.modules)
"""
    weights = bundle / "model.onnx.data"
    with weights.open("r+b") as file:
        file.truncate(2**29)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = next(row for row in manifest["files"] if row["path"] == weights.name)
    entry["num_bytes"] = 2**29
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = subprocess.run(
        [sys.executable, "-c", code, bundle], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 10, done.stderr
    assert "model.onnx.data in the bundle is not what was packed" in done.stderr
    assert "its sha256 is" in done.stderr
