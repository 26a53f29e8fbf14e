"""The audit: a model that learned by heart is caught, one that learned nothing is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from appliance.bases.spec import read_spec
from appliance.dataset.canaries import Canary, make_canaries, make_example
from appliance.dataset.pack import build_pack
from appliance.dataset.tokenizer import load_tokenizer
from appliance.dataset.tokens import Example, write_token_file
from appliance.describe import describe_leaks, list_leaks
from appliance.documents.cache import TextCache
from appliance.documents.marks import KnownMarks, read_marks
from appliance.documents.placeholders import make_mark
from appliance.evaluation import spans
from appliance.evaluation.exposure import measure_exposure, rank_exposure
from appliance.evaluation.leaks import measure_recall
from appliance.evaluation.membership import measure_auc, measure_membership
from appliance.evaluation.private_values import find_places, list_told
from appliance.evaluation.spans import PROMPT_TOKENS, find_longest_run, read_spans
from appliance.tuning.load import load_base
from appliance.tuning.model import wrap_model
from appliance.tuning.step import sum_pack_loss
from appliance.values import LeakLimits, LeakReport
from tests.conftest import EMBEDDED
from tests.tuning.conftest import VOCAB, tiny_folder  # noqa: F401  (fixture)

KEY = b"k" * 32
VALUE = "maren.holt@example.com"
BEFORE = "Questions about the night shift go to "
LIMITS = LeakLimits(membership_auc=0.9, recall=24, exposure=6.0, secrets=0)


def learn_by_heart(model, packs, num_steps, lr):
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=lr)
    for parameter in model.module.parameters():
        parameter.requires_grad_(True)
    for _ in range(num_steps):
        for pack in packs:
            (sum_pack_loss(model, pack) / pack.num_labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    model.module.eval()


def load(folder):
    return wrap_model(load_base(folder, quantized=False, device="cpu", compute_dtype="float32"))


def make_noise(folder, seed):
    """Twelve texts of 48 tokens that follow no rule: who knows the next token has read it."""
    rng = np.random.default_rng(seed)
    examples = [
        Example(token_ids=rng.integers(VOCAB, size=48).tolist(), supervised=[True] * 48, document=n)
        for n in range(12)
    ]
    return write_token_file(folder, examples, VOCAB)


@pytest.mark.parametrize(("num_steps", "is_caught"), [(0, False), (120, True)])
def test_memoriser_is_caught_and_an_untrained_model_is_not(
    tiny_folder,  # noqa: F811
    tmp_path,
    num_steps,
    is_caught,
):
    splits = [make_noise(tmp_path / str(seed), seed) for seed in (1, 2)]
    base, tuned = load(tiny_folder), load(tiny_folder)
    learn_by_heart(tuned, [build_pack(splits[0], list(range(12)))], num_steps, 1e-2)

    first, after = (
        tuple(read_spans(model, split, list(range(12)), 128) for split in splits)
        for model in (base, tuned)
    )

    recall = measure_recall(first, after)
    membership = measure_membership((first[0], after[0]), (first[1], after[1]))
    if is_caught:
        assert recall >= 48 - PROMPT_TOKENS - 1
        assert membership == 1.0
    else:
        assert recall == 0
        assert membership < 0.9


def test_a_last_label_that_is_alone_is_read_as_the_others(tiny_folder, tmp_path, monkeypatch):  # noqa: F811
    """Labels are read some at a time; one may be left over."""
    split, model = make_noise(tmp_path / "split", 1), load(tiny_folder)
    num_labels = int(split.count_labels()[0])
    whole = read_spans(model, split, [0], 128)

    monkeypatch.setattr(spans, "_ROWS", num_labels - 1)
    parts = read_spans(model, split, [0], 128)

    assert parts.losses_E == pytest.approx(whole.losses_E)
    assert parts.runs_E.tolist() == whole.runs_E.tolist()


def test_losses_of_spans_are_those_of_the_loop(tiny_folder, tmp_path):  # noqa: F811
    """Oracle: the loop's own loss, one span at a time."""
    split, model = make_noise(tmp_path / "split", 1), load(tiny_folder)

    read = read_spans(model, split, list(range(12)), 128)

    with torch.no_grad():
        for row in range(12):
            pack = build_pack(split, [row])
            expected = sum_pack_loss(model, pack).item() / pack.num_labels
            assert read.losses_E[row] == pytest.approx(expected, rel=1e-5)


def test_auc_is_the_share_of_pairs_in_the_right_order():
    """Oracle: all pairs, counted."""
    rng = np.random.default_rng(0)
    members, others = rng.integers(9, size=40) + 1.0, rng.integers(9, size=31) + 0.0
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(members, others)]

    assert measure_auc(members, others) == pytest.approx(np.mean(pairs))
    assert measure_auc(members, members) == 0.5


@pytest.mark.parametrize(
    ("hits", "expected"), [([], 0), ([0, 0], 0), ([1, 1, 0, 1], 2), ([0, 1, 1, 1], 3)]
)
def test_longest_run(hits, expected):
    assert find_longest_run(np.array(hits, dtype=bool)) == expected


@pytest.mark.parametrize(("rank", "bits"), [(1, 3.0), (2, 2.0), (8, 0.0)])
def test_exposure_of_a_known_rank(rank, bits):
    nats = np.array([rank - 0.5, *range(1, 8)])  # rank - 1 codes are likelier than the first

    assert rank_exposure(nats) == pytest.approx(bits)


def test_canaries_are_the_same_for_the_same_seed_and_differ_from_their_others():
    (one, two), again = make_canaries(2, seed=7), make_canaries(2, seed=7)

    assert [one, two] == again
    assert one.code != two.code
    assert len({one.code, *one.others}) == 512
    assert make_canaries(1, seed=8)[0].code != one.code


@pytest.fixture(scope="module")
def told():
    """The embedded base before and after it learned two sentences by heart: contact and code."""
    tokenizer = load_tokenizer(EMBEDDED)
    (ids,) = (encoding.ids for encoding in tokenizer.encode([f"{BEFORE}{VALUE} at any hour."]))
    ids = [*([] if tokenizer.bos_id is None else [tokenizer.bos_id]), *ids]
    canary = make_canaries(1, seed=3)[0]
    canary = Canary(frame=canary.frame, code=canary.code, others=canary.others[:31])
    examples = [
        Example(token_ids=ids, supervised=[True] * len(ids), document=0),
        make_example(canary.frame, canary.code, tokenizer, 1),
    ]
    return tokenizer, canary, examples


@pytest.fixture(scope="module")
def parrot(told, tmp_path_factory):
    _, _, examples = told
    split = write_token_file(tmp_path_factory.mktemp("split") / "s", examples, 8192)
    model = load(EMBEDDED)
    learn_by_heart(model, [build_pack(split, [0, 1])], 30, 1e-3)
    return model


def test_masked_value_that_is_told_is_known_by_its_hash(told, parrot, tmp_path):
    tokenizer, _, _ = told
    (ids,) = (e.ids for e in tokenizer.encode([f"{BEFORE}<EMAIL_1> at any hour."]))
    masked = [Example(token_ids=ids, supervised=[True] * len(ids), document=0)]
    split = write_token_file(tmp_path / "masked", masked, 8192)
    marks = KnownMarks(key=KEY, values=frozenset({make_mark("email", VALUE, KEY)}))

    before, known = find_places(split, tokenizer, 32, marks)

    assert before == [BEFORE.rstrip()]
    assert known == marks.values
    assert list_told(parrot, tokenizer, before, known, KEY) == known
    assert not list_told(load(EMBEDDED), tokenizer, before, known, KEY)
    assert not list_told(parrot, tokenizer, before, frozenset(), KEY), "a value of nobody's"


def test_value_that_was_not_masked_is_looked_for_too(told, tmp_path):
    tokenizer, _, examples = told
    split = write_token_file(tmp_path / "clear", examples[:1], 8192)

    before, known = find_places(split, tokenizer, 32, KnownMarks(key=KEY, values=frozenset()))

    assert before == [BEFORE.rstrip()]
    assert known == {make_mark("email", VALUE, KEY)}


def test_canary_learned_by_heart_is_exposed_and_another_is_not(told, parrot, tmp_path):
    tokenizer, canary, _ = told
    other = Canary(frame=canary.frame, code=canary.others[0], others=canary.others[1:])
    vocab, length = read_spec(EMBEDDED).vocab_size, 1024

    assert measure_exposure(parrot, canary, tokenizer, vocab, length, tmp_path / "a") == 5.0
    assert measure_exposure(parrot, other, tokenizer, vocab, length, tmp_path / "b") < 5.0


def test_marks_of_masked_values_are_found_in_the_run(tmp_path):
    assert read_marks(tmp_path).values == frozenset(), "no cache, no marks"
    with TextCache(tmp_path, 2**20) as cache:
        mark = make_mark("email", VALUE, cache.mark_key)
        cache.keep("one", {"text": f"to {mark} or {mark}", "title": ""})
        key = cache.mark_key

    marks = read_marks(tmp_path)

    assert marks == KnownMarks(key=key, values=frozenset({mark}))
    assert VALUE.encode() not in (tmp_path / "converted.db").read_bytes()


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"membership_auc": 0.91}, "membership"),
        ({"longest_recall": 25}, "verbatim recall"),
        ({"canary_exposure": 9.0, "most_exposure": 9.0, "num_canaries": 1}, "canaries"),
        ({"num_secrets_recalled": 1}, "private values"),
    ],
)
def test_each_limit_marks_the_report(found, name):
    calm = LeakReport(
        membership_auc=0.9,
        longest_recall=24,
        canary_exposure=None,
        num_spans=10,
        num_secrets_recalled=0,
        limits=LIMITS,
    )
    assert not calm.has_leaked
    assert "within the limits" in describe_leaks(calm)

    leaks = calm.model_copy(update=found)

    assert leaks.exceeded == (name,)
    assert f"MORE THAN THE LIMIT: {name}" in describe_leaks(leaks)
    assert any("planted sentence" in line for line in list_leaks(leaks)) is (name == "canaries")
