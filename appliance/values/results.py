"""What the stages made: weights, scores, graphs, bundle."""

from __future__ import annotations

from typing import Literal

from appliance.values.machine import Rejected
from appliance.values.plan import Method
from appliance.values.record import Value
from appliance.values.verdict import LeakReport, Verdict, WayScore
from appliance.values.ways import Asked


class RateTrial(Value):
    """One learning rate of the probe, and the held-out loss after it (None: it diverged)."""

    lr: float
    loss: float | None


class TunedModel(Value):
    """What training made.

    Attributes:
        folder: the trained weights (PEFT's own format for qlora and lora).
        lr: the learning rate that the probe chose; `trials` are all it tried.
        step: the step whose weights were kept; `num_steps` were run.
        held_out_loss: on the validation split, at that step.
        start_loss: on the validation split, before the first step.
        peak_memory_bytes: measured over the training stage, the program itself included.
        planned_memory_bytes: what the plan said, and the cache of hidden states if it is in RAM.
        utilisation: FLOPs of training as a part of what plain products reach here (HFU); None where
            hidden states were cached, for the FLOPs saved cannot be counted as used.
        num_returns: times that training fell ill and went back to a good checkpoint.
        general_rise: of the loss on general text at the kept step, as a part of the base's; None
            where it was not measured.
        replay_share: general text that was read again at the end, a part of the documents'.
        num_lowered: times that the learning rate was halved for forgetting.
        num_processes: that trained together.
        reliefs: what was done each time that memory ran out.
        wanted_memory_bytes: that training as planned took at least when it ran out; 0 if it fitted.
    """

    folder: str
    method: Method
    lr: float
    trials: tuple[RateTrial, ...]
    step: int
    num_steps: int
    num_tokens: int
    num_labels: int
    start_loss: float
    held_out_loss: float
    peak_memory_bytes: int
    planned_memory_bytes: int
    tokens_per_second: float
    seconds: float
    utilisation: float | None = None
    num_returns: int = 0
    general_rise: float | None = None
    replay_share: float = 0.0
    num_lowered: int = 0
    num_processes: int = 1
    reliefs: tuple[str, ...] = ()
    wanted_memory_bytes: int = 0


class Score(Value):
    """Loss of one model on the test split.

    Attributes:
        loss: over all labels.
        text_loss: over passages of plain text; None where there are none.
        answer_loss: over answers; None where there are none.
        bits_per_byte: over all labels.
        answer_f1: word overlap of generated answers with the reference answers, 0 to 1.
    """

    loss: float
    text_loss: float | None
    answer_loss: float | None
    bits_per_byte: float
    answer_f1: float | None


class GeneralScore(Value):
    """What training did to general text that neither model was trained on.

    Attributes:
        base_bits_per_byte: before.
        tuned_bits_per_byte: after.
        rise: (tuned loss - base loss) / base loss; below nought: it became better.
        limit: what the recipe allows; above it, the model forgot.
        own_drift: how far the tuned model is from what the base would say itself: their divergence
            (KL) on samples of the base, nats per token; None where it was not measured.
    """

    base_bits_per_byte: float
    tuned_bits_per_byte: float
    rise: float
    limit: float
    own_drift: float | None = None

    @property
    def has_forgotten(self) -> bool:
        """Whether the rise is above the limit."""
        return self.rise > self.limit


class TermScore(Value):
    """Terms of the domain, guessed from the text before them in held-out documents.

    Attributes:
        num_places: how often one was asked for.
        base_share: of the places where the base's first guess was the whole term.
        tuned_share: the same after training.
        base_loss: nats per token of the terms, before.
        tuned_loss: after.
    """

    num_places: int
    base_share: float
    tuned_share: float
    base_loss: float
    tuned_loss: float


class EvalReport(Value):
    """Base against tuned on held-out documents.

    Attributes:
        improvement: (base loss - tuned loss) / base loss.
        improvement_low: lower bound of its 95 % interval, paired bootstrap over documents.
        improvement_high: upper bound.
        text_improvement: the same on plain text alone, with its bounds.
        answers_file: JSON lines of the generated answers; private, stays in the run.
        general: what was forgotten; None where it was not measured.
        terms: of continued pretraining: words of the domain; None where it has none of its own.
        ways: how well each way of answering did, search included; empty where nobody was asked.
        asked: what the ways were asked, and paired tests between them.
    """

    base: Score
    tuned: Score
    num_documents: int
    num_labels: int
    improvement: float
    improvement_low: float
    improvement_high: float
    text_improvement: float | None
    text_improvement_low: float | None
    text_improvement_high: float | None
    answers_file: str
    general: GeneralScore | None = None
    terms: TermScore | None = None
    ways: tuple[WayScore, ...] = ()
    asked: Asked | None = None


class MergedModel(Value):
    """A plain checkpoint in the base's own architecture.

    Attributes:
        folder: safetensors, config and tokenizer.
        merged_into: which weights the update was added to; "none" if there was nothing to add.
        losses: held-out loss of each merge that was scored, on the validation split.
    """

    folder: str
    merged_into: Literal["original", "dequantized", "none"]
    losses: dict[str, float]
    num_bytes: int


Precision = Literal["fp32", "int4", "int4-mixed", "int8"]


class ExportChoice(Value):
    """Which precision to export to."""

    precision: Precision


class OnnxModel(Value):
    """An ONNX graph with everything ONNX Runtime GenAI needs to run it."""

    folder: str
    precision: Precision
    num_bytes: int


class Rung(Value):
    """One step of the parity ladder.

    Attributes:
        rung: "adapter", "merged", "onnx-fp32" or "onnx-<precision>".
        loss: on the parity sample of the test split.
        kl: mean Kullback-Leibler divergence from the rung above, nats per position.
        top1: share of positions whose most likely token is that of the rung above.
        gain_kept: (base loss - loss) / (base loss - adapter loss); None where tuning gained less
            than noise.
        passed: whether it kept within the thresholds.
        thresholds: in words, what had to hold.
    """

    rung: str
    loss: float
    kl: float
    top1: float
    gain_kept: float | None
    passed: bool
    thresholds: str


class ParityReport(Value):
    """The ladder adapter → merged → ONNX fp32 → shipped precision.

    Attributes:
        base_loss: of the untouched base on the parity sample.
        shipped: precision that goes into the bundle.
        tried: precisions that were tried and refused, with the reason.
    """

    rungs: tuple[Rung, ...]
    base_loss: float
    num_positions: int
    shipped: Precision
    tried: tuple[Rejected, ...] = ()


class ProvenModel(Value):
    """The graph that ships, and the proof that it is the model that was trained.

    `build_seconds` is the part of the stage that went into building graphs.
    """

    onnx: OnnxModel
    parity: ParityReport
    build_seconds: float


class Bundle(Value):
    """A folder that runs elsewhere, with a manifest of every file."""

    folder: str
    manifest_sha256: str
    num_bytes: int


class TuneResult(Value):
    """What `appliance tune --json` prints; the keys are kept stable for scripts.

    Attributes:
        run: absolute path of the run.
        bundle: absolute path of the bundle.
        base_loss: of the untouched base on the test split, nats per supervised token.
        tuned_loss: of the tuned model on the same tokens.
        exported_loss: of the shipped graph, tuned_loss moved by what export cost on the sample.
        gain_kept: share of the gain that the shipped graph keeps; None when nothing was gained.
        pretraining: of a run that pretrained first: what that did, base against pretrained.
        leaks: what could be extracted from the weights; None where it was not looked for.
        verdict: whether to use the model.
        seconds: by stage; for a stage that an earlier attempt finished, what it took then.
    """

    run: str
    bundle: str
    manifest_sha256: str
    base: str
    method: str
    lr: float
    base_loss: float
    tuned_loss: float
    exported_loss: float
    gain_kept: float | None
    evaluation: EvalReport
    parity: tuple[Rung, ...]
    precision: Precision
    planned_memory_bytes: int
    peak_memory_bytes: int
    tokens_per_second: float
    seconds: dict[str, float]
    planned_seconds: dict[str, float]
    files: dict[str, int]
    tokens: dict[str, int]
    pretraining: EvalReport | None = None
    leaks: LeakReport | None = None
    verdict: Verdict | None = None
