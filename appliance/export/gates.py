"""The gates of the parity ladder: what every rung has to keep, in one place.

A gate judges one rung by its comparison with the rung above and by the share of the tuning gain
that it keeps.
"""

from __future__ import annotations

import math
from typing import Literal

from appliance.export.compare import RungComparison
from appliance.values import Rung

# Two computations of the same weights differ by the order of fp32 sums. Measured on the embedded
# base (four layers, 7 M): KL below 2e-8, log-probabilities within 4e-5, top-1 equal everywhere.
# Architectures with looser kernels (Gemma, Nemotron) reach 1.6e-2 in single logits, which leaves
# the KL below 1e-6. Damage, on the same base: a matrix scaled by 1.05 has a KL of 4e-5, a column of
# zeros 3e-3. A row of zeros has only 1e-6, but moves single log-probabilities by 7e-2: that is why
# there is a bound on the largest difference too.
SAME_WEIGHTS_KL = 1e-5
"""Largest KL between two computations of the same weights, nats per label."""

SAME_WEIGHTS_DIFFERENCE = 2e-2
"""Largest difference of any log-probability of the same, nats."""

SAME_WEIGHTS_TOP1 = 0.999
"""Smallest top-1 agreement of the same; one position may always differ, for a tie is a tie."""

# Quantization moves top-1 by 2 to 5 % without harm on small models, so agreement is no gate. KL
# is: int4 with an 8-bit head cost 3.5e-4 to 3.4e-3, all-int4 2.7e-3 at worst. Ten times the worst
# is damage, also where the loss on a small sample does not show it.
QUANTIZED_KL = 5e-2
"""Largest KL of a quantized graph from the fp32 graph, nats per label."""

# The loss of several int4 variants lies within 0.01 of fp32 on either side, by chance.
LOSS_NOISE = 0.01
"""Differences of loss below this mean nothing, nats per label; on few labels, larger ones neither
(`_find_noise`)."""

# Training reads several examples in one row, transformers one at a time: the sums are the same in
# another order. Thirteen families of four layers gave gradients within 2e-6 of each other; without
# the sliding window of half the layers they are off by more than a tenth.
TRAINED_ERROR = 1e-4
"""Largest relative error of loss and gradient of a pack against its examples one by one."""

Kind = Literal["same weights", "rounded weights", "quantized"]
"""What lies between a rung and the one above: nothing, NF4's rounding, or quantization."""


def judge_rung(
    name: str,
    kind: Kind,
    comparison: RungComparison,
    *,
    base_loss: float,
    adapter_loss: float,
    min_gain_kept: float,
) -> tuple[Rung, str]:
    """Hold a rung against its thresholds.

    Args:
        name: of the rung.
        kind: what may differ from the rung above.
        comparison: with the rung above.
        base_loss: of the untouched base, nats per label.
        adapter_loss: of the model as it was trained.
        min_gain_kept: share of (base loss - adapter loss) that has to be kept.

    Returns:
        The rung, and what it violates ("" if it passed).
    """
    gain = base_loss - adapter_loss
    loss = comparison.loss_lower
    gain_kept = (base_loss - loss) / gain if gain > LOSS_NOISE else None
    checks = list_checks(kind, comparison)
    if kind != "same weights":
        noise = _find_noise(comparison)
        checks.append(_check_gain(gain_kept, min_gain_kept, gain, abs(loss - adapter_loss), noise))
    faults = [fault for _, fault in checks if fault]
    rung = Rung(
        rung=name,
        loss=loss,
        kl=comparison.kl,
        top1=comparison.top1,
        gain_kept=gain_kept,
        passed=not faults,
        thresholds=", ".join(threshold for threshold, _ in checks),
    )
    return rung, ", ".join(faults)


def list_checks(kind: Kind, comparison: RungComparison) -> list[tuple[str, str]]:
    """Threshold in words and violation ("" if kept) of every check on a comparison."""
    if kind == "rounded weights":
        return []
    if kind == "quantized":
        return [_check_below("KL", comparison.kl, QUANTIZED_KL)]
    num_other = round((1 - comparison.top1) * comparison.num_positions)
    most = max(1, int((1 - SAME_WEIGHTS_TOP1) * comparison.num_positions))
    fault = f"top-1 agreement is {comparison.top1:.4f}, must be {SAME_WEIGHTS_TOP1}"
    return [
        _check_below("KL", comparison.kl, SAME_WEIGHTS_KL),
        _check_below(
            "log-probability difference", comparison.max_abs_difference, SAME_WEIGHTS_DIFFERENCE
        ),
        (f"top-1 >= {SAME_WEIGHTS_TOP1}", "" if num_other <= most else fault),
    ]


def _check_below(name: str, value: float, limit: float) -> tuple[str, str]:
    kept = value < limit  # false for nan
    return f"{name} < {limit:g}", "" if kept else f"{name} is {value:.2g}, must be below {limit:g}"


def _check_gain(
    gain_kept: float | None, smallest: float, gain: float, difference: float, noise: float
) -> tuple[str, str]:
    """The check on the gain, or on the loss itself where tuning gained nothing to keep."""
    if gain_kept is None:
        threshold = f"|loss - adapter loss| <= {noise:.2g}, as tuning gained only {gain:.3f} nats"
        kept = difference <= noise
        return (
            threshold,
            "" if kept else f"the loss moved by {difference:.4f}, more than {noise:.2g}",
        )
    fault = f"{100 * gain_kept:.1f} % of the gain is kept, must be {100 * smallest:.1f} %"
    return f"gain kept >= {100 * smallest:g} %", "" if gain_kept >= smallest else fault


def _find_noise(comparison: RungComparison) -> float:
    """Difference of loss that says nothing about two models this near, on so few labels.

    Near each other, log-probabilities of a label differ with a variance of twice the KL (its
    second-order term); their mean over N labels so has sqrt(2 KL / N). Two of these are allowed.
    """
    error = math.sqrt(2 * max(0.0, comparison.kl) / comparison.num_positions)
    return max(LOSS_NOISE, 2 * error)
