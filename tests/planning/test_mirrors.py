"""The planner may not import torch, so it repeats constants of the loop: they have to agree."""

from appliance.planning import activations, schedule, speed, training, trunk
from appliance.tuning import hidden_cache, loss, rates, tune
from appliance.tuning import trunk as tuning_trunk
from appliance.tuning.method import QUANTIZED
from appliance.tuning.methods import adapter


def test_planner_repeats_what_the_loop_does():
    assert activations.CHUNK_BYTES == {"cpu": loss.CHUNK_BYTES, "cuda": loss.CHUNK_BYTES_CUDA}
    assert training.ADAPTER_TOP_SHARE == adapter.TOP_SHARE
    assert training.QUANTIZED == QUANTIZED
    assert schedule.TRIAL_SHARE == rates.PROBE_SHARE
    assert schedule.TRIAL_STEPS == rates.PROBE_STEPS
    assert len(rates.RATES["qlora"]) == speed.RATE_TRIALS
    assert (speed.EVALUATIONS, speed.HELD_OUT_TOKENS) == (tune.EVALUATIONS, tune.HELD_OUT_TOKENS)
    assert trunk.NUM_STATES == tuning_trunk.NUM_STATES
    assert trunk.MEMORY_SHARE == hidden_cache.MEMORY_SHARE
