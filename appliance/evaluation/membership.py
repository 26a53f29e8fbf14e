"""Membership: how well somebody can tell, from losses, whether a text was trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from appliance.evaluation.spans import SpanReadings


def measure_membership(
    trained: tuple[SpanReadings, SpanReadings], held_out: tuple[SpanReadings, SpanReadings]
) -> float:
    """The better of two attacks: by the tuned model's loss, and by its share of the base's loss.

    The second needs the base too, and is not misled by texts that are easy for everybody.

    Args:
        trained: what base and tuned model made of spans that were trained on.
        held_out: of spans that were not.

    Returns:
        The chance to tell a trained span from another one, 0.5 to 1.

    Source: Yeom et al. 2018, arXiv:1709.01604; calibrated by a reference model as in Watson et al.
    2022, arXiv:2111.08440.
    """
    plain = [tuned.losses_E for _, tuned in (trained, held_out)]
    shares = [
        tuned.losses_E / np.maximum(base.losses_E, 1e-9) for base, tuned in (trained, held_out)
    ]
    return max(0.5, measure_auc(-plain[0], -plain[1]), measure_auc(-shares[0], -shares[1]))


def measure_auc(positive_E: npt.NDArray[np.float64], negative_E: npt.NDArray[np.float64]) -> float:
    """Chance that a positive score is above a negative one; equal ones count half.

    Source: Mann & Whitney 1947, "On a test of whether one of two random variables is
    stochastically larger than the other".
    """
    ordered = np.sort(negative_E)
    below = np.searchsorted(ordered, positive_E, side="left")
    not_above = np.searchsorted(ordered, positive_E, side="right")
    return float((below + not_above).mean() / 2 / max(1, len(ordered)))
