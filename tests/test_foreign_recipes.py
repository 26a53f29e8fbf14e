"""Recipes of other programs: what means the same is taken, the rest is told, nothing is guessed."""

import pytest

from appliance.errors import RecipeError
from appliance.recipe import Recipe, read_foreign

FACTORY = {
    "model_name_or_path": "Qwen/Qwen3-0.6B",
    "stage": "sft",
    "finetuning_type": "lora",
    "quantization_bit": 4,
    "lora_rank": 8,
    "lora_alpha": 16,
    "lora_target": "all",
    "dataset": "identity",
    "template": "qwen3",
    "cutoff_len": 2048,
    "learning_rate": "1.0e-4",
    "num_train_epochs": 3.0,
    "neftune_noise_alpha": 5,
    "bf16": True,
}
AXOLOTL = {
    "base_model": "Qwen/Qwen3-0.6B",
    "adapter": "qlora",
    "load_in_4bit": True,
    "load_in_8bit": False,
    "lora_r": 32,
    "sequence_len": 1024,
    "num_epochs": 2,
    "learning_rate": 0.0002,
    "val_set_size": 0.05,
    "loraplus_lr_ratio": 16,
    "datasets": [{"path": "mine", "type": "alpaca"}],
    "wandb_project": None,
}


def read(tmp_path, keys):
    path = tmp_path / "theirs.yaml"
    path.write_text("\n".join(f"{key}: {_write(value)}" for key, value in keys.items()))
    return read_foreign(path)


def _write(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def test_llama_factory_keys_that_mean_the_same_are_taken(tmp_path):
    found = read(tmp_path, FACTORY)

    assert (found.program, found.verb, found.base) == ("LLaMA-Factory", "tune", "Qwen/Qwen3-0.6B")
    tune = Recipe.model_validate(found.tree).tune
    assert (tune.method, tune.rank, tune.epochs, tune.sequence_length) == ("qlora", 8, 3, 2048)
    assert tune.embedding_noise == 5
    assert tune.lr == "auto"


def test_axolotl_keys_that_mean_the_same_are_taken(tmp_path):
    found = read(tmp_path, AXOLOTL)

    assert (found.program, found.verb, found.base) == ("Axolotl", "tune", "Qwen/Qwen3-0.6B")
    tune = Recipe.model_validate(found.tree).tune
    assert (tune.method, tune.rank, tune.epochs, tune.sequence_length) == ("qlora", 32, 2, 1024)
    assert tune.lora_b_rate == 16


@pytest.mark.parametrize("keys", [FACTORY, AXOLOTL], ids=["factory", "axolotl"])
def test_every_key_is_accounted_for_once(tmp_path, keys):
    found = read(tmp_path, keys)

    told = [theirs for theirs, _ in (*found.taken, *found.left)]
    named = {key for key, value in keys.items() if value is not None}
    assert sorted(told) == sorted(named - {"model_name_or_path", "base_model"})
    assert all(why for _, why in found.left)


def test_rate_is_taken_where_all_weights_learn_and_left_where_an_update_does(tmp_path):
    full = read(tmp_path, {**FACTORY, "finetuning_type": "full", "quantization_bit": None})
    small = read(tmp_path, FACTORY)

    assert full.tree["tune"]["lr"] == 1e-4
    assert "learning_rate" in dict(small.left)


def test_plain_text_becomes_pretraining(tmp_path):
    assert read(tmp_path, {**FACTORY, "stage": "pt"}).verb == "pretrain"
    plain = {**AXOLOTL, "datasets": [{"path": "mine", "type": "completion"}]}
    assert read(tmp_path, plain).verb == "pretrain"


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ({**FACTORY, "quantization_bit": 8}, "quantization_bit"),
        ({**FACTORY, "finetuning_type": "freeze"}, "finetuning_type"),
        ({**FACTORY, "num_train_epochs": 0.5}, "num_train_epochs"),
        ({**AXOLOTL, "load_in_4bit": False, "load_in_8bit": True}, "load_in_8bit"),
        ({**AXOLOTL, "something_new": 3}, "something_new"),
    ],
)  # fmt: skip
def test_what_means_something_else_is_left_with_a_reason(tmp_path, keys, left):
    found = read(tmp_path, keys)

    assert left in dict(found.left)
    Recipe.model_validate(found.tree)


@pytest.mark.parametrize(
    "keys",
    [{**FACTORY, "stage": "dpo"}, {**AXOLOTL, "rl": "dpo"}, {"tune": 3}, {"base_modl": "x"}],
)
def test_recipe_for_something_else_is_refused(tmp_path, keys):
    with pytest.raises(RecipeError):
        read(tmp_path, keys)
