"""What several GPUs would bring, on paper: against sums done by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from appliance.planning.training import Training, count_trainable
from tests.conftest import ROOT
from tests.planning.machines import make_spec


@pytest.fixture(scope="module")
def model():
    sys.path.insert(0, str(ROOT / "scripts" / "benches"))
    try:
        import scale_model
    finally:
        sys.path.pop(0)
    return scale_model


def make_cluster(model, nodes, gpus):
    return model.Cluster(num_nodes=nodes, gpus=gpus, flops=1e14, link=100e9, network=10e9)


@pytest.mark.parametrize(
    ("nodes", "gpus", "link", "network"),
    [
        (1, 1, 0, 0),
        (1, 8, 2 * 7 / 8 * 800, 0),  # 1,400: each of 7 rounds sends an eighth, and again
        (4, 8, 1_400, 2 * 3 / 4 * 100),  # between machines an eighth is summed over 4: 150
    ],
)
def test_sum_over_all_sends_what_a_ring_sends(model, nodes, gpus, link, network):
    sent = model.send_all_reduce(800, make_cluster(model, nodes, gpus))

    assert sent == pytest.approx((link, network))


def test_seconds_are_bytes_by_four_fifths_of_each_link(model):
    """80 GB over 100 GB/s at 0.8: 1 s; 8 GB over 10 GB/s at 0.8: 1 s."""
    assert model.count_seconds(80e9, 8e9, make_cluster(model, 4, 8)) == pytest.approx(2.0)


def test_ddp_sends_the_gradients_once_and_hides_nothing(model):
    spec, training = make_spec("embedded"), Training(method="qlora", sequence_length=1024)
    cluster = make_cluster(model, 1, 2)

    row = model.estimate_ddp(spec, training, cluster, step_tokens=4096)

    assert row.link_bytes == 4 * count_trainable(spec, training)  # 2 x 1/2 of fp32
    assert row.moving_seconds == row.exposed_seconds == pytest.approx(row.link_bytes / 80e9)
    assert row.overlap == 0
    whole = row.compute_seconds + row.exposed_seconds
    assert row.efficiency == pytest.approx(row.compute_seconds / whole)


def test_fsdp_waits_for_the_first_layer_where_arithmetic_takes_longer(model):
    """Two GPUs: each sends half of what the other lacks, twice a pack; 4 packs a step."""
    spec, training = make_spec("embedded"), Training(method="qlora", sequence_length=1024)
    cluster = make_cluster(model, 1, 2)
    learned = 4 * count_trainable(spec, training)
    shape = spec.num_layers * (
        2 * spec.width * spec.num_heads * spec.head_width
        + 2 * spec.width * spec.num_kv_heads * spec.head_width
        + 3 * spec.width * spec.intermediate_width
    )
    tables = spec.vocab_size * spec.width * (1 if spec.tied else 2)
    held = shape * 4.127 / 8 + 2 * tables + learned

    row = model.estimate_fsdp(spec, training, cluster, step_tokens=4096)

    assert row.link_bytes == pytest.approx(2 * 4 * held / 2 + learned / 2, rel=1e-4)
    gathering, summing = 4 * held / 80e9, learned / 2 / 80e9
    assert row.moving_seconds == pytest.approx(gathering + summing, rel=1e-4)
    assert row.compute_seconds > gathering
    assert row.exposed_seconds == pytest.approx(gathering / spec.num_layers + summing, rel=1e-4)


def test_one_gpu_alone_is_wholly_efficient(model):
    spec, training = make_spec("embedded"), Training(method="qlora", sequence_length=1024)

    for estimate in (model.estimate_ddp, model.estimate_fsdp):
        row = estimate(spec, training, make_cluster(model, 1, 1), 1024)
        assert (row.efficiency, row.overlap) == (1.0, 1.0)


def test_script_prints_every_layout_and_says_that_it_is_paper():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "sim-scale"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("on paper: H200")
    assert done.stdout.count("| 1 x 8 |") == done.stdout.count("| 4 x 8 |") == 4
