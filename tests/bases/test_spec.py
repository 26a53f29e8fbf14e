"""Base models on disk. Oracle: safetensors' own writer, and sums worked out by hand."""

import json
import struct

import numpy as np
import pytest

from appliance.bases import spec as spec_file
from appliance.bases.licence import parse_front_matter, read_licence
from appliance.bases.spec import read_spec
from appliance.errors import BaseModelError
from tests.bases.model_folder import CONFIG, make_tensors, write_model, write_shards
from tests.conftest import EMBEDDED

NUM_PARAMETERS = 2 * 16 * 8 + 2 * (2 * 8 * 8 + 2 * 4 * 8 + 3 * 8 * 12 + 2 * 8) + 8


def test_shape_and_size_are_read(tmp_path):
    found = read_spec(write_model(tmp_path / "tiny"))
    assert (found.name, found.architecture, found.model_type) == (
        "tiny",
        "LlamaForCausalLM",
        "llama",
    )
    assert (found.num_layers, found.width, found.intermediate_width) == (2, 8, 12)
    assert (found.num_heads, found.num_kv_heads, found.head_width) == (2, 1, 4)
    assert (found.vocab_size, found.context, found.tied) == (16, 64, False)
    assert found.num_parameters == NUM_PARAMETERS
    assert found.weights_bytes == (tmp_path / "tiny" / "model.safetensors").stat().st_size
    assert found.dtype == "float16"
    assert found.exportable and found.why_not == ""


def test_embedded_base_agrees_with_safetensors():
    from safetensors import safe_open

    found = read_spec(EMBEDDED, "embedded")
    with safe_open(EMBEDDED / "model.safetensors", framework="numpy") as file:
        sizes = [np.prod(file.get_slice(name).get_shape()) for name in list(file.keys())]
    assert found.num_parameters == sum(sizes)
    assert found.exportable


def test_shards_are_read_as_one_model(tmp_path):
    found = read_spec(write_shards(tmp_path))
    assert found.num_parameters == NUM_PARAMETERS
    assert found.weights_bytes == sum(p.stat().st_size for p in tmp_path.glob("*.safetensors"))


def test_tied_head_needs_no_tensor_of_its_own(tmp_path):
    tensors = make_tensors(CONFIG)
    del tensors["lm_head.weight"]
    found = read_spec(write_model(tmp_path, tensors, tie_word_embeddings=True))
    assert found.tied
    assert found.num_parameters == NUM_PARAMETERS - 16 * 8


def test_unproven_architecture_is_described_but_not_exportable(tmp_path):
    found = read_spec(write_model(tmp_path, architectures=["OlmoForCausalLM"]))
    assert not found.exportable
    assert found.why_not == "OlmoForCausalLM was not proven right in the exporter"


def refuse(folder) -> BaseModelError:
    with pytest.raises(BaseModelError) as caught:
        read_spec(folder)
    assert caught.value.why and caught.value.fix
    return caught.value


def test_missing_folder_is_refused(tmp_path):
    error = refuse(tmp_path / "nothing")
    assert error.what == f"base model folder {tmp_path / 'nothing'} is not there"
    assert "--base embedded" in error.fix


def test_hub_name_says_that_nothing_is_downloaded():
    error = spec_file.explain_missing("Qwen/Qwen3-0.6B")
    assert error.what == "base model Qwen/Qwen3-0.6B is not on this machine"
    assert "nothing is ever downloaded" in error.why
    assert "--base PATH/Qwen3-0.6B" in error.fix


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("config.json", "has no config.json"),
        ("tokenizer.json", "has no tokenizer.json"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_missing_file_is_refused(tmp_path, name, what):
    (write_model(tmp_path) / name).unlink()
    assert what in refuse(tmp_path).what


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickle_alone_is_refused(tmp_path, name):
    write_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    error = refuse(tmp_path)
    assert "pickle files only" in error.what
    assert f"{name} can run any program when it is opened" in error.why


def test_script_in_the_folder_is_refused(tmp_path):
    write_model(tmp_path)
    (tmp_path / "modeling_odd.py").write_text("raise SystemExit")
    error = refuse(tmp_path)
    assert "brings its own code" in error.what
    assert error.why == "modeling_odd.py lies in it; code of a model folder is never run"


def test_auto_map_is_refused(tmp_path):
    write_model(tmp_path, auto_map={"AutoModel": "modeling_odd.Odd"})
    assert "config.json has an auto_map" in refuse(tmp_path).why


def test_quantized_checkpoint_is_refused(tmp_path):
    write_model(tmp_path, quantization_config={"quant_method": "gptq"})
    error = refuse(tmp_path)
    assert "is quantized already" in error.what
    assert "gptq" in error.why


def test_missing_tensor_is_named(tmp_path):
    tensors = make_tensors(CONFIG)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    error = refuse(write_model(tmp_path, tensors))
    assert "does not hold the whole model" in error.what
    assert error.why == (
        "tensor model.layers.1.mlp.up_proj.weight is missing; config.json asks for [12, 8]"
    )


def test_misshapen_tensor_is_named(tmp_path):
    tensors = make_tensors(CONFIG) | {"lm_head.weight": np.zeros((15, 8), dtype=np.float16)}
    error = refuse(write_model(tmp_path, tensors))
    assert error.why == "tensor lm_head.weight has shape [15, 8]; config.json asks for [16, 8]"


def test_truncated_weights_are_refused(tmp_path):
    path = write_model(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    error = refuse(tmp_path)
    assert error.what == f"{path} is damaged"
    assert "its header describes" in error.why


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "its header would take 0 bytes of 0"),
        (b"PK\x03\x04rubbish that is a zip file", "its header would take"),
        (struct.pack("<Q", 2) + b"[]", "its header does not describe tensors"),
        (struct.pack("<Q", 7) + b'{"a":1}', "its header does not describe tensors"),
        (struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc", "its header does not describe tensors"),
    ],
)
def test_file_that_is_no_safetensors_is_refused(tmp_path, content, why):
    (write_model(tmp_path) / "model.safetensors").write_bytes(content)
    assert why in refuse(tmp_path).why


def test_shape_that_disagrees_with_the_bytes_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    body = struct.pack("<Q", len(header)) + header + bytes(8)
    (write_model(tmp_path) / "model.safetensors").write_bytes(body)
    assert refuse(tmp_path).why == "its header does not describe tensors"


@pytest.mark.parametrize(
    ("places", "why"),
    [
        (
            {"x": "../secret.safetensors"},
            "'../secret.safetensors', which is no file of this folder",
        ),
        (
            {"x": "model-00003-of-00002.safetensors"},
            "file model-00003-of-00002.safetensors is missing",
        ),
        ({"x": "model-00001-of-00002.safetensors"}, "tensor x is in none of its 1 files"),
        (None, "it has no map of tensors to files"),
    ],
)
def test_broken_index_is_refused(tmp_path, places, why):
    index = write_shards(tmp_path) / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert why in refuse(tmp_path).why


@pytest.mark.parametrize(
    ("changes", "what", "why"),
    [
        ({"architectures": None}, "names no architecture", "'architectures' is missing"),
        ({"architectures": ["BertModel"]}, "is not a causal language model", "BertModel"),
        ({"hidden_size": None}, "does not describe a decoder like Llama", "'hidden_size'"),
        ({"vocab_size": "many"}, "has a size that is no number", "many"),
    ],
)
def test_config_that_does_not_fit_is_refused(tmp_path, changes, what, why):
    write_model(tmp_path)
    config = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = refuse(tmp_path)
    assert what in error.what
    assert why in error.why


@pytest.mark.parametrize("text", ["{", "[1]", '"text"'])
def test_config_that_is_no_mapping_is_refused(tmp_path, text):
    (write_model(tmp_path) / "config.json").write_text(text)
    assert "config.json" in refuse(tmp_path).what


def test_hash_changes_with_tokenizer_and_weights(tmp_path):
    first = read_spec(write_model(tmp_path)).sha256
    (tmp_path / "tokenizer.json").write_text("{ }")
    second = read_spec(tmp_path).sha256
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert len({first, second, read_spec(tmp_path).sha256}) == 3


def test_hash_of_a_large_file_sees_both_ends_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr(spec_file, "FULL_HASH_BYTES", 1)
    monkeypatch.setattr(spec_file, "MIB", 64)
    path = write_model(tmp_path) / "model.safetensors"
    original = path.read_bytes()
    start = 8 + struct.unpack("<Q", original[:8])[0]
    found = [read_spec(tmp_path).sha256]
    for place in (start, len(original) - 1, start + 500):
        changed = bytearray(original)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        found.append(read_spec(tmp_path).sha256)
    assert found[3] == found[0]  # the middle is not read, as the docstring says
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Card", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: 'own-licence'\n---\n", "own-licence"),
        ("---\nlanguage: en\n---\nlicense: mit", ""),
        ("# Card\nlicense: mit", ""),
    ],
)
def test_licence_is_read_from_front_matter(text, licence):
    assert parse_front_matter(text) == licence


def test_licence_is_known_by_its_text_else_unknown(tmp_path):
    assert read_licence(tmp_path) == "unknown"
    (tmp_path / "LICENSE").write_text("   Apache License\n   Version 2.0, January 2004\n")
    assert read_licence(tmp_path) == "apache-2.0"
