"""The planner may not import torch, so it repeats constants of the loop: they have to agree."""

from appliance.planning import memory, schedule, training
from appliance.tuning import loss, rates
from appliance.tuning.method import QUANTIZED
from appliance.tuning.methods import adapter


def test_planner_repeats_what_the_loop_does():
    assert memory.CHUNK_BYTES == {"cpu": loss.CHUNK_BYTES, "cuda": loss.CHUNK_BYTES_CUDA}
    assert training.ADAPTER_TOP_SHARE == adapter.TOP_SHARE
    assert training.QUANTIZED == QUANTIZED
    assert schedule.TRIAL_SHARE == rates.PROBE_SHARE
    assert schedule.TRIAL_STEPS == rates.PROBE_STEPS
