import math

import numpy as np
import pytest

from appliance.serving.sampling import Sampler, Sampling, keep_share, score_token

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.125], dtype=np.float32))


def draw(count, logits=LOGITS, **options):
    sampler = Sampler(Sampling(seed=1, **options))
    return [sampler.choose(logits) for _ in range(count)]


def test_choose_takes_the_most_likely_token_at_temperature_0():
    assert draw(5) == [0] * 5


def test_choose_draws_with_the_probabilities_of_the_model():
    """Oracle: the frequencies of 20,000 draws, four standard deviations around the probability."""
    counts = np.bincount(draw(20_000, temperature=1.0), minlength=4) / 20_000
    for count, probability in zip(counts, (0.5, 0.25, 0.125, 0.125), strict=True):
        assert abs(count - probability) < 4 * math.sqrt(probability * (1 - probability) / 20_000)


def test_choose_sharpens_with_a_low_temperature():
    """Oracle: 0.5² : 0.25² : 0.125² : 0.125², so 16 : 4 : 1 : 1."""
    counts = np.bincount(draw(20_000, temperature=0.5), minlength=4) / 20_000
    assert abs(counts[0] - 16 / 22) < 0.015


def test_choose_survives_the_lowest_temperature():
    assert set(draw(20, temperature=1e-300)) == {0}


def test_choose_draws_from_the_top_k():
    assert set(draw(500, temperature=2.0, top_k=2)) == {0, 1}


def test_choose_with_one_candidate_is_greedy():
    assert set(draw(50, temperature=2.0, top_k=1)) == {0}


@pytest.mark.parametrize(("share", "expected"), [(0.4, {0}), (0.5, {0}), (0.6, {0, 1})])
def test_choose_draws_from_the_top_share(share, expected):
    assert set(draw(500, temperature=1.0, top_p=share)) == expected


def test_choose_gives_the_same_for_the_same_seed():
    assert draw(50, temperature=1.0) == draw(50, temperature=1.0)


@pytest.mark.parametrize("seed", [-1, 0, 2**63, 2**64 - 1])
def test_any_integer_is_a_seed(seed):
    sampler = Sampler(Sampling(seed=seed, temperature=1.0))
    assert 0 <= sampler.choose(LOGITS) < 4


def test_without_a_seed_draws_differ():
    runs = set()
    for _ in range(8):
        sampler = Sampler(Sampling(temperature=1.0))
        runs.add(tuple(sampler.choose(LOGITS) for _ in range(40)))
    assert len(runs) > 1


def test_choose_keeps_to_what_is_allowed():
    sampler = Sampler(Sampling(seed=0, temperature=1.0))
    allowed = np.array([False, False, True, True])
    assert {sampler.choose(LOGITS, allowed) for _ in range(100)} == {2, 3}


def test_choose_takes_the_best_of_what_is_allowed():
    allowed = np.array([False, True, True, False])
    assert Sampler(Sampling()).choose(LOGITS, allowed) == 1


def test_choose_adds_biases():
    assert draw(1, biases={3: 5.0}) == [3]
    assert draw(1, biases={0: -100.0}) == [1]


def test_choose_penalizes_what_was_said_once():
    """Oracle: 0.5 falls below 0.25, then 0.25 below 0.125; presence is counted once."""
    assert draw(4, presence_penalty=0.75) == [0, 1, 0, 0]


def test_choose_penalizes_every_time_something_was_said():
    assert sorted(draw(4, frequency_penalty=2.0)) == [0, 1, 2, 3]


def test_choose_leaves_the_logits_alone():
    logits = LOGITS.copy()
    Sampler(Sampling(temperature=1.0, biases={1: 2.0}, top_p=0.5, top_k=3)).choose(logits)
    assert (logits == LOGITS).all()


def test_keep_share_sorts_all_when_the_first_candidates_are_not_enough():
    """Oracle: of 4,000 equal weights, half of them are needed for half of the weight."""
    assert len(keep_share(np.ones(4_000), 0.5)) == 2_000


def test_keep_share_keeps_at_least_one():
    assert list(keep_share(np.array([1.0, 3.0]), 1e-9)) == [1]


def test_score_token_gives_the_logarithm_of_the_probability():
    score = score_token(LOGITS + 7, 2, 2)
    assert score.logprob == pytest.approx(math.log(0.125), abs=1e-6)
    assert [token for token, _ in score.top] == [0, 1]
    assert [logprob for _, logprob in score.top] == pytest.approx(
        [math.log(0.5), math.log(0.25)], abs=1e-6
    )


def test_score_token_can_leave_out_the_most_likely():
    assert score_token(LOGITS, 0, 0).top == ()


def test_score_token_takes_more_than_there_are():
    assert len(score_token(LOGITS, 0, 20).top) == 4
