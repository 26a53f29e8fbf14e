"""The closed form beside every storage of a real training step.

Oracle: the tracker of `scripts/bench planner`, which follows each tensor of the product's own
methods, attention, loss and optimizer under fake tensors.
"""

import sys
from dataclasses import replace

import pytest

from appliance.planning.training import Training, count_embedding, count_linear, count_norms
from tests.conftest import ROOT
from tests.planning.machines import make_spec

CASES = [
    # model_type, tied, method, recompute, compute_dtype, packs, tunes_head
    ("llama", False, "qlora", False, "float32", 2, True),
    ("qwen3", True, "qlora", True, "float32", 2, False),
    ("qwen3", True, "qlora", True, "bfloat16", 2, False),
    ("qwen3", True, "lora", False, "bfloat16", 1, False),
    ("llama", False, "adapter", False, "float32", 1, False),
    ("qwen3", True, "full", True, "bfloat16", 1, False),
    ("llama", False, "prompt", True, "float32", 2, False),
]


@pytest.fixture(scope="module")
def tracker():
    """The tracker, which lies beside the bench."""
    sys.path.insert(0, str(ROOT / "scripts" / "benches"))
    try:
        import planner_tracker
    finally:
        sys.path.pop(0)
    return planner_tracker


def make_small(model_type: str, tied: bool):
    spec = make_spec("embedded").model_copy(
        update={
            "model_type": model_type,
            "num_layers": 3,
            "width": 384,
            "intermediate_width": 1152,
            "num_heads": 6,
            "num_kv_heads": 2,
            "vocab_size": 4096,
            "tied": tied,
        }
    )
    weights = count_linear(spec) + count_embedding(spec) + count_norms(spec)
    return spec.model_copy(update={"num_parameters": weights})


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, about checkpointing
@pytest.mark.parametrize(
    ("model_type", "tied", "method", "recompute", "dtype", "packs", "tunes_head", "is_unpacked"),
    [(*case, False) for case in CASES] + [(*CASES[0], True)],
)
def test_closed_form_is_what_the_tracker_counts(
    tracker, model_type, tied, method, recompute, dtype, packs, tunes_head, is_unpacked
):
    spec = make_small(model_type, tied)
    training = Training(
        method=method,
        sequence_length=640,
        recompute=recompute,
        compute_dtype=dtype,
        packs_per_step=packs,
        tunes_head=tunes_head,
    )
    if is_unpacked:
        training = replace(training, keeps_unpacked=True)
    planned, tracked = tracker.plan_peak(spec, training), tracker.track_peak(spec, training)
    assert planned == pytest.approx(tracked, rel=0.02)
