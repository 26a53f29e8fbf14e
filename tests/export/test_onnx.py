import json
import os
import shutil
import subprocess
import sys

import onnx
import pytest
from exported_model import EMBEDDED, build, describe_merged, get_folder, make_stage
from safetensors.torch import load_file, save_file

from appliance.errors import ExportError
from appliance.export.onnx import check_graph, export_onnx
from appliance.values import ExportChoice


def read_bits(folder):
    nodes = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph.node
    return {
        node.name: next(a.i for a in node.attribute if a.name == "bits")
        for node in nodes
        if node.op_type == "MatMulNBits"
    }


def test_export_onnx_writes_everything_that_the_engine_reads():
    model = build("int4")
    names = {path.name for path in get_folder("int4").iterdir()}
    assert names == {
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert model.num_bytes == sum(p.stat().st_size for p in get_folder("int4").iterdir())


def test_export_onnx_makes_greedy_decoding_up_to_the_context_the_default():
    config = json.loads((get_folder("int4") / "genai_config.json").read_text())
    assert config["search"]["do_sample"] is False
    assert config["search"]["max_length"] == config["model"]["context_length"] == 1024


def test_export_onnx_names_no_folder_of_this_machine_in_its_files():
    for path in get_folder("int4").glob("*.json"):
        if path.name != "tokenizer.json":
            assert str(EMBEDDED.parent) not in path.read_text()


def test_export_onnx_int4_keeps_the_head_in_eight_bits():
    bits = read_bits(get_folder("int4"))
    # 4 layers of qkv, o, gate, up, down; and the head
    assert len(bits) == 21
    assert [number for name, number in bits.items() if "lm_head" in name] == [8]
    assert sorted(bits.values()) == [4] * 20 + [8]


def test_export_onnx_fp32_quantizes_nothing():
    assert read_bits(get_folder("fp32")) == {}


@pytest.mark.parametrize(("precision", "expected"), [("int4-mixed", {4, 8}), ("int8", {8})])
def test_export_onnx_builds_the_upper_steps_of_the_ladder(precision, expected):
    assert set(read_bits(get_folder(precision)).values()) == expected


@pytest.mark.parametrize("asked", ["int4", "int4-mixed", "int8"])
def test_check_graph_refuses_a_graph_that_was_not_quantized(asked):
    with pytest.raises(ExportError, match=f"another graph than {asked}") as caught:
        check_graph(get_folder("fp32") / "model.onnx", asked)
    assert "21 of its matrices are not quantized" in caught.value.why


def test_check_graph_refuses_other_bits_than_asked_for():
    with pytest.raises(ExportError, match="another graph than int8") as caught:
        check_graph(get_folder("int4") / "model.onnx", "int8")
    assert "[4] bits, not [8]" in caught.value.why


def test_check_graph_refuses_a_head_with_too_few_bits(tmp_path):
    graph = onnx.load(str(get_folder("int4") / "model.onnx"), load_external_data=False)
    for node in graph.graph.node:
        if "lm_head" in node.name and node.op_type == "MatMulNBits":
            next(a for a in node.attribute if a.name == "bits").i = 4
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ExportError) as caught:
        check_graph(tmp_path / "model.onnx", "int4")
    assert "head has [4] bits, not 8" in caught.value.why


def test_export_onnx_leaves_the_terminal_and_logging_alone(tmp_path):
    """In a process of its own, for pytest's handlers keep the quantizer from adding its own."""
    code = """
import logging, sys
from pathlib import Path
from exported_model import EMBEDDED, describe_merged, make_stage
from appliance.export.onnx import export_onnx
from appliance.values import ExportChoice
stage = make_stage(Path(sys.argv[1]), "export")
for precision in ("int4", "fp32"):
    export_onnx(describe_merged(EMBEDDED), ExportChoice(precision=precision), stage)
assert not logging.getLogger().handlers
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert (result.stdout, result.stderr) == ("", "")
    assert result.returncode == 0
    assert "Saving ONNX model" in (tmp_path / "export" / "onnx-int4.log").read_text()


def test_export_onnx_builds_the_same_bytes_again(tmp_path):
    stage = make_stage(tmp_path, "export")
    (stage.folder / "onnx-int4").mkdir()
    (stage.folder / "onnx-int4" / "left-over").write_text("of an interrupted build")
    export_onnx(describe_merged(EMBEDDED), ExportChoice(precision="int4"), stage)
    ours = {p.name: p.read_bytes() for p in (stage.folder / "onnx-int4").iterdir()}
    assert ours == {p.name: p.read_bytes() for p in get_folder("int4").iterdir()}


def test_export_onnx_refuses_an_incomplete_checkpoint_before_it_builds(tmp_path):
    folder = tmp_path / "merged"
    shutil.copytree(EMBEDDED, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.self_attn.v_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    stage = make_stage(tmp_path, "export")
    with pytest.raises(ExportError) as caught:
        export_onnx(describe_merged(folder), ExportChoice(precision="fp32"), stage)
    assert "model.layers.1.self_attn.v_proj.weight" in caught.value.why
    assert list(stage.folder.iterdir()) == []


def test_export_onnx_says_what_the_exporter_said_when_it_fails(tmp_path):
    folder = tmp_path / "merged"
    shutil.copytree(EMBEDDED, folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match="the exporter failed on merged in fp32") as caught:
        export_onnx(
            describe_merged(folder), ExportChoice(precision="fp32"), make_stage(tmp_path, "export")
        )
    assert caught.value.why
    assert "onnx-fp32.log" in caught.value.fix


def test_export_onnx_says_how_to_get_an_exporter_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_genai.models", None)
    with pytest.raises(ExportError, match="the exporter cannot be loaded") as caught:
        export_onnx(
            describe_merged(EMBEDDED),
            ExportChoice(precision="fp32"),
            make_stage(tmp_path, "export"),
        )
    assert "install" in caught.value.fix
