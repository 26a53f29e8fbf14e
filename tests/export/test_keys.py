import json
import shutil
from pathlib import Path

import pytest
import torch
from exported_model import EMBEDDED
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from appliance.errors import ExportError
from appliance.export.keys import check_keys

DOWN = "model.layers.2.mlp.down_proj.weight"


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "merged"
    shutil.copytree(EMBEDDED, folder)
    return folder


def rewrite(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_check_keys_accepts_a_complete_checkpoint(checkpoint):
    check_keys(checkpoint)


def test_check_keys_names_a_missing_tensor(checkpoint):
    rewrite(checkpoint, lambda tensors: tensors.pop(DOWN))
    with pytest.raises(ExportError, match="incomplete") as caught:
        check_keys(checkpoint)
    assert DOWN in caught.value.why
    assert caught.value.fix


def test_check_keys_names_a_tensor_of_the_wrong_shape(checkpoint):
    rewrite(checkpoint, lambda tensors: tensors.update({DOWN: tensors[DOWN][:, 1:].contiguous()}))
    with pytest.raises(ExportError, match=DOWN) as caught:
        check_keys(checkpoint)
    assert "[256, 703]" in caught.value.why
    assert "[256, 704]" in caught.value.why


def test_check_keys_names_a_tensor_that_is_not_finite(checkpoint):
    rewrite(checkpoint, lambda tensors: tensors[DOWN].view(-1)[7].fill_(float("nan")))
    with pytest.raises(ExportError, match=f"{DOWN}.*not finite") as caught:
        check_keys(checkpoint)
    assert caught.value.why.startswith("1 of 180224")


def test_check_keys_refuses_an_adapter_that_was_not_merged(checkpoint):
    name = "model.layers.0.self_attn.q_proj.lora_A.weight"
    rewrite(checkpoint, lambda tensors: tensors.update({name: torch.zeros(4, 256)}))
    with pytest.raises(ExportError, match="not merged") as caught:
        check_keys(checkpoint)
    assert name in caught.value.why


def test_check_keys_refuses_a_truncated_file(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ExportError, match="cannot be read"):
        check_keys(checkpoint)


def test_check_keys_refuses_a_checkpoint_without_weights(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ExportError, match="cannot be read"):
        check_keys(checkpoint)


def test_check_keys_refuses_a_configuration_that_is_not_one(checkpoint):
    (checkpoint / "config.json").write_text("{}")
    with pytest.raises(ExportError, match="configuration"):
        check_keys(checkpoint)


@pytest.fixture
def tied(tmp_path):
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tied", max_shard_size="20KB")
    return tmp_path / "tied"


def test_check_keys_accepts_tied_weights_that_are_stored_once_in_several_files(tied):
    index = json.loads((tied / "model.safetensors.index.json").read_text())
    assert "lm_head.weight" not in index["weight_map"]
    assert len(set(index["weight_map"].values())) > 1
    check_keys(tied)


def test_check_keys_refuses_a_missing_shard(tied):
    next(tied.glob("model-00001*.safetensors")).unlink()
    with pytest.raises(ExportError, match="cannot be read"):
        check_keys(tied)
