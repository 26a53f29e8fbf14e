import json
import os
import subprocess
import sys

import pytest

from appliance.bundle.verify import find_bundle, verify_bundle
from appliance.errors import BundleError


def edit_manifest(bundle, change):
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def refuse(bundle):
    with pytest.raises(BundleError) as caught:
        verify_bundle(bundle)
    assert caught.value.why
    assert caught.value.fix
    return caught.value


def test_verify_accepts_an_undamaged_copy(bundle):
    assert len(verify_bundle(bundle).files) == 17


def test_find_bundle_takes_the_run_that_made_it(packed):
    assert find_bundle(packed.parent) == packed
    assert find_bundle(packed) == packed


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_verify_names_the_file_in_which_one_bit_was_flipped(bundle, name):
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = refuse(bundle)
    assert error.what == f"{name} in the bundle is not what was packed"
    assert error.why.startswith("its sha256 is ")
    assert "the manifest says" in error.why


def test_verify_names_a_file_that_was_cut_off(bundle):
    path = bundle / "model.onnx.data"
    num_bytes = path.stat().st_size
    os.truncate(path, num_bytes - 1)
    error = refuse(bundle)
    assert error.what.startswith("model.onnx.data")
    assert error.why == f"it has {num_bytes - 1:,} bytes, the manifest says {num_bytes:,}"


def test_verify_names_a_missing_file(bundle):
    (bundle / "chat_template.jinja").unlink()
    assert refuse(bundle).what == "chat_template.jinja is missing from the bundle"


@pytest.mark.parametrize("name", ["custom_ops.so", "reports/extra.json", ".hidden"])
def test_verify_names_a_file_that_was_added(bundle, name):
    (bundle / name).write_text("x")
    assert refuse(bundle).what == f"the bundle holds {name!r}, which is not in its manifest"


def test_verify_refuses_a_manifest_that_is_a_link(bundle, tmp_path):
    (bundle / "manifest.json").rename(tmp_path / "manifest.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert refuse(bundle).what == "the bundle holds 'manifest.json', which is not a plain file"


def test_verify_refuses_a_link_in_place_of_a_file(bundle, tmp_path):
    path = bundle / "tokenizer.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert refuse(bundle).what == "the bundle holds 'tokenizer.json', which is not a plain file"


def test_verify_refuses_a_link_in_place_of_a_folder(bundle, tmp_path):
    (bundle / "reports").rename(tmp_path / "reports")
    (bundle / "reports").symlink_to(tmp_path / "reports")
    assert refuse(bundle).what == "the bundle holds 'reports', which is not a plain file"


@pytest.mark.parametrize(
    "path",
    [
        "../outside.json",
        "/etc/passwd",
        "reports/../../outside.json",
        "./model.onnx",
        "reports//plan.json",
        "reports\\plan.json",
        "C:/plan.json",
        "manifest.json",
        "",
    ],
)
def test_verify_refuses_a_manifest_that_points_elsewhere(bundle, path):
    edit_manifest(bundle, lambda manifest: manifest["files"][0].update(path=path))
    error = refuse(bundle)
    assert error.what == "the manifest of the bundle names a path that it must not"
    assert repr(path) in error.why


def test_verify_refuses_a_path_that_stands_there_twice(bundle):
    edit_manifest(bundle, lambda manifest: manifest["files"].append(manifest["files"][0]))
    assert "twice" in refuse(bundle).why


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"'])
def test_verify_refuses_a_manifest_that_is_no_json_object(bundle, text):
    (bundle / "manifest.json").write_text(text)
    assert refuse(bundle).what == "the manifest of the bundle cannot be read"


def test_verify_names_what_is_wrong_in_the_manifest(bundle):
    edit_manifest(bundle, lambda manifest: manifest["files"][2].pop("sha256"))
    error = refuse(bundle)
    assert error.what == "the manifest of the bundle cannot be read"
    assert "files.2.sha256" in error.why


def test_verify_refuses_the_schema_of_another_version(bundle):
    edit_manifest(bundle, lambda manifest: manifest.update(schema_version=2, new="field"))
    error = refuse(bundle)
    assert "another version" in error.what
    assert "schema 2" in error.why


def test_verify_says_that_a_folder_is_no_bundle(tmp_path):
    error = refuse(tmp_path)
    assert error.what == f"{tmp_path} is not a bundle"
    assert "manifest.json" in error.why


def test_verify_says_that_nothing_is_there(tmp_path):
    assert refuse(tmp_path / "nothing").why == "nothing has this name"


def test_verify_says_that_a_run_is_not_finished(tmp_path):
    (tmp_path / "bundle.partial").mkdir()
    assert "has not made its bundle yet" in refuse(tmp_path).why


def test_verify_needs_no_heavy_library(packed):
    code = """
import sys
from pathlib import Path
from appliance.bundle.verify import verify_bundle
verify_bundle(Path(sys.argv[1]))
heavy = {"torch", "transformers", "numpy", "onnx", "onnxruntime", "onnxruntime_genai"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(packed)], check=True)
