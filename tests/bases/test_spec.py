"""Base models on disk. Oracle: safetensors' own writer, and sums worked out by hand."""

import json
import os
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
    folder = write_model(tmp_path, architectures=["OlmoForCausalLM"], model_type="olmo", clip_qkv=8)
    found = read_spec(folder)
    assert not found.exportable
    assert found.why_not == "clip_qkv=8 of OlmoForCausalLM was not proven right in the exporter"


def refuse(folder) -> BaseModelError:
    with pytest.raises(BaseModelError) as caught:
        read_spec(folder)
    assert caught.value.why and caught.value.fix
    return caught.value


def test_missing_folder_is_refused(tmp_path):
    error = refuse(tmp_path / "nothing")
    assert error.what == f"base model folder {tmp_path / 'nothing'} is not there"
    assert "--base embedded" in error.fix


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
    assert error.why == "'modeling_odd.py' lies in it; code of a model folder is never run"


@pytest.mark.parametrize(
    ("name", "body", "key"),
    [
        ("config.json", CONFIG | {"auto_map": {"AutoModel": "modeling_odd.Odd"}}, "auto_map"),
        ("config.json", CONFIG | {"text_config": [{"auto_map": {}}]}, "auto_map"),
        ("config.json", CONFIG | {"trust_remote_code": True}, "trust_remote_code"),
        ("config.json", CONFIG | {"custom_pipelines": {}}, "custom_pipelines"),
        ("tokenizer_config.json", {"auto_map": {}}, "auto_map"),
        ("generation_config.json", {"custom_generate": "x"}, "custom_generate"),
    ],
)
def test_key_that_loads_code_is_refused(tmp_path, name, body, key):
    (write_model(tmp_path) / name).write_text(json.dumps(body))
    error = refuse(tmp_path)
    assert "brings its own code" in error.what
    assert error.why == f"{name} has the key '{key}'; code of a model folder is never run"


def test_model_type_that_loads_another_class_is_refused(tmp_path):
    error = refuse(write_model(tmp_path, model_type="lightglue"))
    assert "has an unknown architecture" in error.what
    assert error.why == (
        "model_type 'lightglue' with 'LlamaForCausalLM', LlamaForCausalLM belongs to 'llama'"
    )


def test_architecture_that_nobody_knows_is_refused(tmp_path):
    write_model(tmp_path, architectures=["OddForCausalLM"], model_type="odd")
    assert "'OddForCausalLM' is unknown" in refuse(tmp_path).why


@pytest.mark.parametrize(
    "template", ["{{ x }}" * 20_000, [{"name": "a", "template": "x" * 150_000}]]
)
def test_chat_template_that_is_too_large_is_refused(tmp_path, template):
    write_model(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    error = refuse(tmp_path)
    assert "chat template" in error.what and "too large" in error.what


def test_chat_template_file_that_is_too_large_is_refused(tmp_path):
    (write_model(tmp_path) / "chat_template.jinja").write_text("x" * 150_000)
    error = refuse(tmp_path)
    assert error.what == f"{tmp_path / 'chat_template.jinja'} is too large"


def test_link_that_leads_out_is_refused(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "config.json").rename(tmp_path / "config.json")
    (folder / "config.json").symlink_to("../config.json")
    error = refuse(folder)
    assert error.what == f"{folder / 'config.json'} is a link that leads out of the model's folder"
    assert read_spec(folder, inside=tmp_path).num_parameters == NUM_PARAMETERS


def test_pipe_is_refused_and_not_waited_for(tmp_path):
    folder = write_model(tmp_path)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "is not a plain file" in refuse(folder).what


def test_layers_that_config_does_not_count_are_refused(tmp_path):
    folder = write_model(tmp_path)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 1}))
    error = refuse(folder)
    assert "holds more layers than config.json describes" in error.what
    assert "config.json asks for 1 layers" in error.why


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
        (struct.pack("<Q", 2**60) + b"{}", "its header would take 1152921504606846976 bytes"),
        (struct.pack("<Q", 9000) + b"[" * 9000, "its header does not describe tensors"),
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


def pack_header(rows: dict | str, num_bytes: int) -> bytes:
    header = (rows if isinstance(rows, str) else json.dumps(rows)).encode()
    return struct.pack("<Q", len(header)) + header + bytes(num_bytes)


def row(begin, end, shape=None, dtype="U8"):
    sides = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": sides, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("rows", "num_bytes", "why"),
    [
        ({"a": row(0, 8)}, 4, "its header describes"),
        ({"a": row(0, 2**62)}, 4, "its header describes 4194304 TiB"),
        ({"a": row(0, 8), "b": row(4, 12)}, 12, "its tensors overlap at byte 4"),
        ({"a": row(0, 4), "b": row(8, 12)}, 12, "its tensors leave a gap at byte 4"),
        ({"a": row(4, 8)}, 8, "its tensors leave a gap at byte 0"),
        ({"a": row(-4, 4)}, 4, "its header does not describe tensors"),
        ({"a": row(8, 4)}, 8, "its header does not describe tensors"),
        ({"a": row(0, 4, [-2, -2])}, 4, "its header does not describe tensors"),
        ({"a": row(0, 4, [4.0])}, 4, "its header does not describe tensors"),
        ({"a": row(0, 4) | {"data_offsets": [0, True]}}, 1, "its header does not describe tensors"),
        ({"a": row(0, 4) | {"data_offsets": [0]}}, 4, "its header does not describe tensors"),
        ({"a": row(0, 4, dtype="PICKLE")}, 4, "its header does not describe tensors"),
        ({}, 0, "its header does not describe tensors"),
        (
            '{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},'
            ' "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}',
            1,
            "its header names 'a' twice",
        ),
    ],
)
def test_header_that_leads_out_of_the_data_is_refused(tmp_path, rows, num_bytes, why):
    (write_model(tmp_path) / "model.safetensors").write_bytes(pack_header(rows, num_bytes))
    assert why in refuse(tmp_path).why


def test_tensor_in_two_shards_is_refused(tmp_path):
    folder = write_shards(tmp_path)
    first = folder / "model-00001-of-00002.safetensors"
    (folder / "model-00002-of-00002.safetensors").write_bytes(first.read_bytes())
    assert "lies in more than one file" in refuse(folder).why


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
        ({}, "it has no map of tensors to files"),
        ({"x": 7}, "it has no map of tensors to files"),
        ({"x": "/etc/model.safetensors"}, "which is no file of this folder"),
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
        ({"vocab_size": "many"}, "has a size that cannot be", "vocab_size is 'many'"),
        ({"vocab_size": 16.0}, "has a size that cannot be", "vocab_size is '16.0'"),
        ({"vocab_size": True}, "has a size that cannot be", "vocab_size is 'True'"),
        ({"hidden_size": -8}, "has a size that cannot be", "hidden_size is '-8'"),
        ({"num_hidden_layers": 10**9}, "has a size that cannot be", "of 1 to 1,024"),
        ({"num_key_value_heads": 3}, "has a size that cannot be", "2 query heads"),
        ({"partial_rotary_factor": "x"}, "has a value of the wrong kind", "could not convert"),
        ({"hidden_act": ["silu"]}, "has a value of the wrong kind", "unhashable"),
    ],
)
def test_config_that_does_not_fit_is_refused(tmp_path, changes, what, why):
    write_model(tmp_path)
    config = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = refuse(tmp_path)
    assert what in error.what
    assert why in error.why


@pytest.mark.parametrize("text", ["{", "[1]", '"text"', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
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


def test_text_that_forbids_commercial_use_counts_more_than_the_card(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (tmp_path / "LICENSE").write_text("Qwen RESEARCH LICENSE AGREEMENT\n")
    assert read_licence(tmp_path) == "qwen-research"


def test_licence_is_known_by_its_text_else_unknown(tmp_path):
    assert read_licence(tmp_path) == "unknown"
    (tmp_path / "LICENSE").write_text("   Apache License\n   Version 2.0, January 2004\n")
    assert read_licence(tmp_path) == "apache-2.0"
