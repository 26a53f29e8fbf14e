"""Tiny model folders, written by safetensors' own writer."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from appliance.bases.config import read_shape
from appliance.bases.families import FAMILIES
from appliance.bases.tensors import list_tensors

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 16,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


def make_tensors(config: dict) -> dict[str, np.ndarray]:
    family = FAMILIES.get(config["architectures"][0], FAMILIES["LlamaForCausalLM"])
    sizes = list_tensors(family, read_shape(Path("config.json"), config), config)
    return {name: np.zeros(size, dtype=np.float16) for name, size in sizes.items()}


def write_model(folder: Path, tensors: dict[str, np.ndarray] | None = None, **changes) -> Path:
    config = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    save_file(make_tensors(config) if tensors is None else tensors, folder / "model.safetensors")
    return folder


def write_shards(folder: Path) -> Path:
    """The same model in two files with an index."""
    write_model(folder)
    tensors = make_tensors(CONFIG)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {
        "model-00001-of-00002.safetensors": names[:9],
        "model-00002-of-00002.safetensors": names[9:],
    }
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    places = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def write_sparse_model(folder: Path, architecture: str, config: dict) -> Path:
    """A model of a real size whose weights, a byte each, are a hole in the file."""
    sizes = list_tensors(FAMILIES[architecture], read_shape(folder, config), config)
    rows, end = {}, 0
    for name, size in sizes.items():
        begin, end = end, end + math.prod(size)
        rows[name] = {"dtype": "F8_E4M3", "shape": size, "data_offsets": [begin, end]}
    header = json.dumps(rows).encode()
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)
    return folder
