"""The parity ladder: adapter → merged → ONNX fp32 → the precision that is shipped.

Every rung is compared with the one above on the same held-out labels. The upper rungs have to be
the same model; a quantized rung has to keep what tuning gained, and the ladder climbs to a better
precision when it does not. Thresholds stand in `gates.py`, the measuring in `compare.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.dataset.pack import Pack
from appliance.errors import GateError
from appliance.export.compare import RungComparison, compare_chain
from appliance.export.gates import Kind, judge_rung
from appliance.export.scorers import OnnxScorer, Scorer
from appliance.recipe import ExportRecipe
from appliance.values import ParityReport, Precision, Rejected, Rung

Build = Callable[[], Path]
"""Builds a graph, if it is not there yet, and returns its folder."""

LADDER: tuple[Precision, ...] = ("int4", "int4-mixed", "int8", "fp32")
"""Precisions from the smallest file to the largest."""

_FIXES = {
    "merged": "keep the run and report it: the merge does not reproduce what was trained",
    "onnx-fp32": "choose another base with --base: the exporter does not reproduce this one",
}


def list_precisions(precision: Literal["auto"] | Precision) -> tuple[Precision, ...]:
    """The part of the ladder that starts at what the recipe asks for."""
    return LADDER if precision == "auto" else LADDER[LADDER.index(precision) :]


def check_parity(
    sample: Sequence[Pack],
    base_loss: float,
    adapter: Scorer,
    merged: Scorer,
    fp32: Path,
    ladder: Sequence[tuple[Precision, Build]],
    merged_into: Literal["original", "dequantized", "none"],
    recipe: ExportRecipe,
    *,
    threads: int = 1,
) -> ParityReport:
    """Compare every rung with the one above, and find the smallest precision that passes.

    Args:
        sample: held-out examples, one a pack.
        base_loss: of the untouched base on this sample, nats per label.
        adapter: the model as it was trained.
        merged: the plain checkpoint.
        fp32: folder of the ONNX graph in fp32.
        ladder: precisions to try in this order, each with what builds it.
        merged_into: into which weights the update was merged.
        recipe: thresholds that a person may choose.
        threads: processor cores for ONNX Runtime.

    Returns:
        All rungs down to the one that ships, and the precisions that were refused.

    Raises:
        GateError: the merged rung, the fp32 rung or every precision of the ladder failed, or
            there is nothing to compare on.
        ExportError: a graph cannot be loaded.
    """
    if not any(pack.num_labels for pack in sample):
        raise GateError(
            "the export cannot be compared with the tuned model",
            why="the held-out documents give no token to compare on",
            fix="add documents, or keep more of them apart: --set dataset.test_share=0.3",
        )
    exact = OnnxScorer(fp32, threads=threads)
    first, build = ladder[0]
    chain = [adapter, merged, exact]
    if first != "fp32":
        chain.append(OnnxScorer(build(), threads=threads))
    comparisons = compare_chain(chain, sample)
    gate = _Gate(
        base_loss=base_loss,
        adapter_loss=comparisons[0].loss_upper,
        min_gain_kept=recipe.min_gain_kept,
    )
    rungs = [
        _make_first_rung(comparisons[0]),
        gate.demand(
            "merged",
            "rounded weights" if merged_into == "original" else "same weights",
            comparisons[0],
        ),
        gate.demand("onnx-fp32", "same weights", comparisons[1]),
    ]
    tried: list[Rejected] = []
    for precision, build in ladder:
        if precision != "fp32":
            if precision != first:
                del chain[3:]
                chain.append(OnnxScorer(build(), threads=threads))
                comparisons = compare_chain(chain[2:], sample)
            rung, fault = gate.judge(f"onnx-{precision}", "quantized", comparisons[-1])
            if fault:
                tried.append(Rejected(choice=precision, reason=fault))
                continue
            rungs.append(rung)
        return ParityReport(
            rungs=tuple(rungs),
            base_loss=base_loss,
            num_positions=comparisons[0].num_positions,
            shipped=precision,
            tried=tuple(tried),
        )
    raise GateError(
        f"no precision of {', '.join(name for name, _ in ladder)} keeps what tuning gained",
        why="; ".join(f"{entry.choice}: {entry.reason}" for entry in tried),
        fix="--set export.precision=fp32",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gate:
    """What all rungs are held against."""

    base_loss: float
    adapter_loss: float
    min_gain_kept: float

    def judge(self, name: str, kind: Kind, comparison: RungComparison) -> tuple[Rung, str]:
        return judge_rung(
            name,
            kind,
            comparison,
            base_loss=self.base_loss,
            adapter_loss=self.adapter_loss,
            min_gain_kept=self.min_gain_kept,
        )

    def demand(self, name: str, kind: Kind, comparison: RungComparison) -> Rung:
        """The rung, which has to pass.

        Raises:
            GateError: it does not.
        """
        rung, fault = self.judge(name, kind, comparison)
        if fault:
            above = "adapter" if name == "merged" else "merged"
            raise GateError(
                f"the {name} model is not the {above} model it was made from",
                why=f"{fault} (on {comparison.num_positions} held-out tokens)",
                fix=_FIXES[name],
            )
        return rung


def _make_first_rung(comparison: RungComparison) -> Rung:
    return Rung(
        rung="adapter",
        loss=comparison.loss_upper,
        kl=0.0,
        top1=1.0,
        gain_kept=1.0,
        passed=True,
        thresholds="the model as it was trained",
    )
