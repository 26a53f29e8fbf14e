"""Prompt tuning: virtual tokens are read before every example, and merge into plain rows."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from appliance.dataset.pack import PackedBatches, build_pack, put_before
from appliance.errors import BaseModelError
from appliance.events import StepDone, ignore_event
from appliance.tuning.load import load_base
from appliance.tuning.loop import fit
from appliance.tuning.method import untuned
from appliance.tuning.methods import prompt
from appliance.tuning.model import wrap_model
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import measure_loss
from tests.tuning.conftest import VOCAB, make_plan
from tests.tuning.test_methods import disturb, load, read_logits

PLAN = make_plan(method="prompt", rank=3)
SCHEDULE = Schedule(num_steps=20, peak_lr=0.3, warmup_steps=2, decay_steps=20, evaluate_every=5)


def attach(folder, *, quantized=True, seed=1):
    return wrap_model(prompt.attach(load(folder, quantized), PLAN, seed))


def run(model, split, folder, **changes):
    folder.mkdir(exist_ok=True)
    batches = PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=5, lead_tokens=3)
    options = dict(on_event=ignore_event, should_stop=lambda: False)
    return fit(
        model,
        batches,
        changes.pop("schedule", SCHEDULE),
        folder=folder,
        held_out=batches.read_all()[:2],
        **(options | changes),
    )


def test_only_the_virtual_tokens_learn_and_they_begin_as_real_ones(tiny_folder):
    model = attach(tiny_folder)

    learning = [p for p in model.module.parameters() if p.requires_grad]

    assert [tuple(p.shape) for p in learning] == [(3, 64)]
    rows = model.module.get_input_embeddings().plain.weight
    assert all((rows == vector).all(dim=1).any() for vector in learning[0])
    assert model.lead_ids == (VOCAB, VOCAB + 1, VOCAB + 2)


@torch.no_grad()
def test_hidden_states_equal_those_of_the_vectors_before_every_example(tiny_folder, split):
    """Oracle: the stock model, given the vectors as `inputs_embeds`, one example at a time."""
    model = attach(tiny_folder, quantized=False)
    disturb(model.module)
    stock = AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager").eval()
    pack = build_pack(split, [5, 9])

    ours = model.read_hidden(pack)

    virtual = model.module.get_input_embeddings().virtual_PD
    for start, end in pack.segments:
        tokens = stock.model.embed_tokens(torch.from_numpy(pack.token_ids_T[start:end]))
        whole = torch.cat([virtual, tokens])[None]
        theirs = stock.model(inputs_embeds=whole, use_cache=False).last_hidden_state[0, 3:]
        torch.testing.assert_close(ours[start:end], theirs, rtol=1e-4, atol=1e-5)


def test_put_before_keeps_examples_apart_and_finds_them_again(split):
    pack = build_pack(split, [2, 4])

    longer, kept = put_before(pack, [200, 201])

    assert (longer.token_ids_T[kept] == pack.token_ids_T).all()
    assert longer.num_labels == pack.num_labels
    assert [end - start for start, end in longer.segments] == [
        end - start + 2 for start, end in pack.segments
    ]
    for start, end in longer.segments:
        assert longer.token_ids_T[start : start + 2].tolist() == [200, 201]
        assert longer.positions_T[start:end].tolist() == list(range(end - start))


def test_prompt_learns_and_leaves_the_base_as_it_was(tiny_folder, split, tmp_path):
    plain = read_logits(wrap_model(load(tiny_folder, True)), split)
    model = attach(tiny_folder)
    packs = PackedBatches(split, pack_tokens=64, packs_per_step=2, seed=5).read_all()[:2]
    before = measure_loss(model, packs)

    run(model, split, tmp_path / "fit")

    assert measure_loss(model, packs) < 0.97 * before
    with untuned(model) as base:
        assert base.lead_ids == ()
        assert torch.equal(read_logits(base, split), plain)


def test_packs_leave_room_for_the_virtual_tokens(split):
    batches = PackedBatches(split, pack_tokens=64, packs_per_step=1, seed=5, lead_tokens=3)

    sizes = [len(put_before(pack, [1, 2, 3])[0].token_ids_T) for pack in batches.read_all()]

    assert max(sizes) <= 64


@pytest.mark.parametrize("kill_after", [4, 11])
def test_resumed_after_a_kill_it_ends_with_the_same_bits(tiny_folder, split, tmp_path, kill_after):
    straight = attach(tiny_folder)
    run(straight, split, tmp_path / "straight")

    class KilledError(Exception):
        pass

    def kill(event):
        if isinstance(event, StepDone) and event.step == kill_after:
            raise KilledError

    every_step = dataclasses.replace(SCHEDULE, checkpoint_seconds=0.0)
    with pytest.raises(KilledError):
        run(attach(tiny_folder), split, tmp_path / "k", schedule=every_step, on_event=kill)
    resumed = attach(tiny_folder, seed=99)
    run(resumed, split, tmp_path / "k")

    vectors = [m.module.get_input_embeddings().virtual_PD for m in (straight, resumed)]
    assert torch.equal(*vectors)


@pytest.fixture(scope="session")
def tied_folder(tiny_folder, tmp_path_factory):
    """The same shape, with one matrix for embedding and head."""
    torch.manual_seed(8)
    config = LlamaForCausalLM.config_class.from_pretrained(tiny_folder)
    config.tie_word_embeddings = True
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    folder = tmp_path_factory.mktemp("tied")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("is_tied", [False, True])
def test_merged_model_is_plain_and_equals_the_trained_one(
    tiny_folder, tied_folder, split, tmp_path, is_tied
):
    """Oracle: transformers' own model, from disk, told the virtual tokens as ids."""
    folder = tied_folder if is_tied else tiny_folder
    model = attach(folder)
    disturb(model.module)
    trained = read_logits(model, split)
    prompt.save(model.module, tmp_path / "weights")

    restored = wrap_model(prompt.restore(load(folder, True), tmp_path / "weights"))
    merged = prompt.merge(prompt.restore(load(folder, True).dequantize(), tmp_path / "weights"))
    merged.save_pretrained(tmp_path / "merged")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    ours = wrap_model(load_base(tmp_path / "merged", quantized=False, **CPU))
    pack = build_pack(split, [1])
    with torch.no_grad():
        ids = [VOCAB, VOCAB + 1, VOCAB + 2, *pack.token_ids_T.tolist()]
        from_disk = stock(input_ids=torch.tensor([ids])).logits[0, 3:, :VOCAB]

    assert torch.equal(read_logits(restored, split), trained)
    assert stock.config.vocab_size == VOCAB + 3
    assert (stock.lm_head.weight is stock.model.embed_tokens.weight) == is_tied
    torch.testing.assert_close(read_logits(ours, split), trained, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(from_disk, trained[: len(from_disk)], rtol=1e-4, atol=1e-4)


CPU = {"device": "cpu", "compute_dtype": "float32"}


def test_merged_model_never_writes_a_virtual_token_also_when_tied(tied_folder, tmp_path):
    """Virtual tokens whose vectors are large: a tied head finds them the likeliest everywhere."""
    model = attach(tied_folder).module
    with torch.no_grad():
        model.get_input_embeddings().virtual_PD.mul_(0).add_(3.0)
    prompt.save(model, tmp_path / "weights")
    merged = prompt.merge(
        prompt.restore(load(tied_folder, True).dequantize(), tmp_path / "weights")
    )
    merged.save_pretrained(tmp_path / "merged")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    ids = torch.tensor([[VOCAB, VOCAB + 1, VOCAB + 2, start] for start in range(16)])

    free = stock.generate(ids, max_new_tokens=8, do_sample=False, suppress_tokens=[])
    asked = stock.generate(ids, max_new_tokens=8, do_sample=False)

    assert (free[:, 4:] >= VOCAB).any(), "else this shows nothing"
    assert (asked[:, 4:] < VOCAB).all()


def test_base_with_virtual_tokens_is_not_prompt_tuned_again(tiny_folder):
    model = attach(tiny_folder).module

    with pytest.raises(BaseModelError, match="prompt-tuned before"):
        prompt.attach(model, PLAN, 1)
