"""One row of the export matrix: a family trained, merged, exported, quantized and served."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from exported_model import describe_merged, make_stage
from proof import (
    StockScorer,
    continue_library,
    continue_served,
    count_greedy,
    make_sample,
    make_text,
)
from tuning_proof import answer, load_plain, measure_merge, measure_options, measure_pack
from zoo import Member, build_member

from appliance.bases.spec import read_spec
from appliance.errors import ApplianceError
from appliance.export.compare import RungComparison, compare
from appliance.export.corrections import list_corrections
from appliance.export.gates import TRAINED_ERROR, list_checks
from appliance.export.onnx import export_onnx
from appliance.export.scorers import OnnxScorer, TorchScorer
from appliance.planning.methods import find_obstacle
from appliance.recipe import TuneRecipe
from appliance.tuning.model import wrap_model
from appliance.values import ExportChoice

GREEDY_TOKENS = 40
SHORT_PROMPT, LONG_PROMPT = 44, 200
"""The first crosses the window while it is answered, the second is longer than it."""

MERGES = ("lora", "adapter", "prompt")


@dataclass
class Proof:
    """What was measured; `faults` holds what missed its threshold.

    Attributes:
        why_not: why the program refuses this configuration; "" when it takes it.
        corrections: of the builder, by name.
        loss_error, gradient_error: of a pack, relative to its examples one by one.
        options_error: of options scored in one row behind a prompt, relative likewise.
        merges: tuned model against merged checkpoint, by method; a sentence where it is refused.
        fp32, int4: graph against transformers, and quantized against fp32.
        answered: equal greedy tokens, of `GREEDY_TOKENS`, for each prompt, in the evaluation.
        served, library: the same, from the graph.
    """

    name: str
    architecture: str
    why_not: str = ""
    corrections: list[str] = field(default_factory=list)
    loss_error: float = 0.0
    gradient_error: float = 0.0
    options_error: float = 0.0
    merges: dict[str, RungComparison | str] = field(default_factory=dict)
    trained: RungComparison | None = None
    fp32: RungComparison | None = None
    int4: RungComparison | None = None
    answered: list[int] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    library: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def hold(self, name: str, kind, comparison: RungComparison) -> None:
        """Note what a comparison violates."""
        self.faults += [f"{name}: {fault}" for _, fault in list_checks(kind, comparison) if fault]


def prove_family(member: Member, folder: Path, *, merges=MERGES, is_quick: bool = False) -> Proof:
    """Measure a configuration; a quick one leaves out int4 and the library's own loop."""
    base = folder / "base"
    stock = build_member(member, base)
    sample = make_sample(folder / "sample", [member.text])
    spec = read_spec(base)
    proof = Proof(name=member.name, architecture=member.architecture, why_not=spec.why_not)
    proof.corrections = [correction.name for correction in list_corrections(stock.config)]
    try:
        _prove_tuning(proof, stock, spec, folder, sample, merges)
        _prove_export(proof, folder, sample, member.text, is_quick, stock)
    except (ApplianceError, NotImplementedError) as exc:
        proof.faults.append(f"{exc} {getattr(exc, 'why', '')}".strip())
    return proof


def _prove_tuning(proof, stock, spec, folder: Path, sample, merges) -> None:
    base = folder / "base"
    proof.trained = compare(StockScorer(stock), TorchScorer(wrap_model(load_plain(base))), sample)
    proof.hold("trained", "same weights", proof.trained)
    proof.loss_error, proof.gradient_error = measure_pack(stock, base, folder)
    if not max(proof.loss_error, proof.gradient_error) < TRAINED_ERROR:
        proof.faults.append(f"packs: gradient off by {proof.gradient_error:.1e}")
    proof.options_error = measure_options(stock, base)
    if not proof.options_error < TRAINED_ERROR:
        proof.faults.append(f"options: off by {proof.options_error:.1e}")
    for method in merges:
        obstacle = find_obstacle(spec, method, TuneRecipe())
        if obstacle:
            proof.merges[method] = obstacle
            continue
        merged = measure_merge(method, base, folder, sample)
        proof.merges[method] = merged
        proof.hold(f"merge {method}", "same weights", merged)


def _prove_export(proof, folder: Path, sample, num_tokens: int, is_quick: bool, stock) -> None:
    base = folder / "base"
    stage = make_stage(folder, "export")
    export_onnx(describe_merged(base), ExportChoice(precision="fp32"), stage)
    graph = stage.folder / "onnx-fp32"
    exact = OnnxScorer(graph)
    proof.fp32 = compare(StockScorer(stock), exact, sample)
    proof.hold("onnx fp32", "same weights", proof.fp32)
    lengths = [SHORT_PROMPT, min(LONG_PROMPT, num_tokens - GREEDY_TOKENS)]
    prompts = [make_text(length, length) for length in lengths]
    proof.answered = _count(proof, "answered", stock, prompts, answer(base, prompts, GREEDY_TOKENS))
    served = continue_served(graph, prompts, GREEDY_TOKENS)
    proof.served = _count(proof, "served", stock, prompts, served)
    if is_quick:
        return
    answers = [continue_library(graph, prompt, GREEDY_TOKENS) for prompt in prompts]
    proof.library = _count(proof, "library", stock, prompts, answers)
    export_onnx(describe_merged(base), ExportChoice(precision="int4"), stage)
    proof.int4 = compare(exact, OnnxScorer(stage.folder / "onnx-int4"), sample)
    proof.hold("int4", "quantized", proof.int4)


def _count(proof, name: str, stock, prompts: list[list[int]], answers) -> list[int]:
    """Greedy tokens of each answer; fewer than all are a fault."""
    pairs = zip(prompts, answers, strict=True)
    equal = [count_greedy(stock, *pair, GREEDY_TOKENS) for pair in pairs]
    if min(equal) < GREEDY_TOKENS:
        proof.faults.append(f"{name}: {equal} of {GREEDY_TOKENS} tokens are equal")
    return equal
