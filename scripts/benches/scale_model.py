"""What several GPUs and machines would bring, on paper: bytes moved, overlap, efficiency.

Nothing here was measured: no machine with several GPUs was at hand. Seconds of arithmetic follow
from FLOPs and an assumed share of the card's peak, seconds of moving from bytes and links.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.memory import NF4_BYTES
from appliance.planning.training import Training, count_embedding, count_linear, count_trainable
from appliance.planning.work import count_flops
from appliance.values import BaseSpec

LINK_SHARE = 0.8
"""Part of a link's nominal rate that large messages reach: assumed; NCCL's tests print 0.75 to 0.9
of it as "bus bandwidth" on most machines."""

GRADIENT_BYTES = 4
"""Gradients of low-rank updates are fp32 here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Machines with equal GPUs.

    Attributes:
        num_nodes: machines.
        gpus: on each of them.
        flops: a second that a GPU reaches in training.
        link: bytes a second between GPUs of a machine, one way, per GPU.
        network: bytes a second between machines, one way, per GPU.
    """

    num_nodes: int
    gpus: int
    flops: float
    link: float
    network: float

    @property
    def size(self) -> int:
        """All GPUs."""
        return self.num_nodes * self.gpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A step on paper.

    Attributes:
        link_bytes: that a GPU sends inside its machine in a step.
        network_bytes: that it sends to other machines.
        compute_seconds: of arithmetic.
        moving_seconds: of sending; `exposed_seconds` of them nothing is computed.
    """

    link_bytes: float
    network_bytes: float
    compute_seconds: float
    moving_seconds: float
    exposed_seconds: float

    @property
    def overlap(self) -> float:
        """Part of the sending behind which something is computed."""
        return 1 - self.exposed_seconds / self.moving_seconds if self.moving_seconds else 1.0

    @property
    def efficiency(self) -> float:
        """Speed of a GPU as a part of what it has alone."""
        return self.compute_seconds / (self.compute_seconds + self.exposed_seconds)


def send_all_reduce(num_bytes: float, cluster: Cluster) -> tuple[float, float]:
    """Bytes that a GPU sends inside and outside of its machine to sum a vector over all.

    Inside a ring of n, (n-1)/n of the vector is sent to share the sum, and again to spread it;
    between machines only each GPU's share of it, likewise twice.

    Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of
    workstations", theorem 1; in two levels: Goyal et al. 2017, arXiv:1706.02677, section 4.
    """
    inside, outside = (n - 1 for n in (cluster.gpus, cluster.num_nodes))
    link = 2 * inside / cluster.gpus * num_bytes
    network = 2 * outside / cluster.num_nodes * num_bytes / cluster.gpus
    return link, network


def send_all_gather(num_bytes: float, cluster: Cluster) -> tuple[float, float]:
    """Bytes that a GPU sends to give everyone a vector of which each has a part.

    Source: as `send_all_reduce`: the second half of it.
    """
    link, network = send_all_reduce(num_bytes, cluster)
    return link / 2, network / 2


def count_seconds(link_bytes: float, network_bytes: float, cluster: Cluster) -> float:
    """Seconds of sending; the two levels one after the other."""
    return (link_bytes / cluster.link + network_bytes / cluster.network) / LINK_SHARE


def estimate_ddp(
    spec: BaseSpec, training: Training, cluster: Cluster, step_tokens: int
) -> Estimate:
    """A step with whole bases: gradients of what learns are summed once, after the backward pass.

    Args:
        spec: the base.
        training: how it is trained.
        cluster: the machines.
        step_tokens: that one GPU reads in a step.

    Source: `tuning/ranks.py`, which overlaps nothing.
    """
    link, network = send_all_reduce(GRADIENT_BYTES * count_trainable(spec, training), cluster)
    seconds = count_seconds(link, network, cluster)
    return Estimate(
        link_bytes=link,
        network_bytes=network,
        compute_seconds=step_tokens * count_flops(spec, training) / cluster.flops,
        moving_seconds=seconds,
        exposed_seconds=seconds,
    )


def estimate_fsdp(
    spec: BaseSpec, training: Training, cluster: Cluster, step_tokens: int
) -> Estimate:
    """A step with the base in parts: every pack gathers it twice, layer by layer, ahead of time.

    Gathered are NF4 weights, which stay packed in bitsandbytes' quant storage, the embedding and
    head in 16 bit, and the updates; the gradients of the updates are shared out once. A layer is
    gathered while the one before is computed, so the first is always waited for.

    Args:
        spec: the base.
        training: how it is trained; a pack is its micro-batch.
        cluster: the machines.
        step_tokens: that one GPU reads in a step.

    Source: Zhao et al. 2023, "PyTorch FSDP", arXiv:2304.11277, sections 3.2 and 3.3.
    """
    learned = GRADIENT_BYTES * count_trainable(spec, training)
    held = NF4_BYTES * count_linear(spec) + 2 * count_embedding(spec) + learned
    packs = max(1, round(step_tokens / training.sequence_length))
    gathered = [2 * packs * sent for sent in send_all_gather(held, cluster)]
    shared = send_all_gather(learned, cluster)
    compute = step_tokens * count_flops(spec, training) / cluster.flops
    gathering = count_seconds(gathered[0], gathered[1], cluster)
    summing = count_seconds(shared[0], shared[1], cluster)
    first = gathering / spec.num_layers
    return Estimate(
        link_bytes=gathered[0] + shared[0],
        network_bytes=gathered[1] + shared[1],
        compute_seconds=compute,
        moving_seconds=gathering + summing,
        exposed_seconds=min(gathering, first + max(0.0, gathering - compute)) + summing,
    )
