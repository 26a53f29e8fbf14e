"""The values that pass between stages.

Each is frozen and holds paths, counts and hashes, never tensors, so that it survives a restart as
JSON. Paths inside a run are relative to the run's folder; `rundir.py` resolves them.
Units: bytes and tokens are int, seconds float, loss is nats per supervised token.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen record; a field that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    VOLATILE: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how things are at the moment: they do not decide whether a stage is done."""


# ---------------------------------------------------------------- documents


class DocumentsFolder(Value):
    """A folder of documents as it lies on disk: enough to see whether anything changed.

    Attributes:
        path: absolute path.
        fingerprint: sha256 over relative name, size and modification time of every file.
        num_files: files found.
        num_bytes: their bytes.
    """

    path: str
    fingerprint: str
    num_files: int
    num_bytes: int


class FileVerdict(Value):
    """What happened to one file: a line of the documents ledger.

    Attributes:
        path: relative to the documents folder.
        verdict: used; duplicate of another file; or skipped.
        reason: why it was not used (empty if used without remarks).
        fix: what the owner can do about it.
        num_bytes: size of the file.
        num_characters: characters of clean text taken from it.
        num_secrets_masked: secrets replaced in it.
    """

    path: str
    verdict: Literal["used", "duplicate", "skipped"]
    reason: str = ""
    fix: str = ""
    num_bytes: int = 0
    num_characters: int = 0
    num_secrets_masked: int = 0


class Turn(Value):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Document(Value):
    """A document as text: a line of `documents.jsonl`.

    Attributes:
        number: position in the corpus, from 0.
        source: path of its file, relative to the documents folder.
        title: from the document itself, else from its name.
        text: clean markdown; may be empty when the document is only conversations.
        conversations: chats, tickets and question-answer rows found in it.
    """

    number: int
    source: str
    title: str
    text: str
    conversations: tuple[tuple[Turn, ...], ...] = ()


class Corpus(Value):
    """All documents of a folder as text.

    Attributes:
        documents_file: JSON lines of Document.
        ledger_file: JSON lines of FileVerdict, one for every file of the folder.
        num_characters: characters of clean text, conversations included.
        sha256: over documents_file.
    """

    documents_file: str
    ledger_file: str
    num_files: int
    num_used: int
    num_duplicates: int
    num_skipped: int
    num_documents: int
    num_characters: int
    num_secrets_masked: int
    sha256: str


# ---------------------------------------------------------------- dataset


class Split(Value):
    """One part of the dataset.

    Attributes:
        folder: a token file (see `dataset/tokens.py`).
        num_tokens: tokens of all examples.
        num_labels: supervised tokens.
    """

    folder: str
    num_documents: int
    num_examples: int
    num_tokens: int
    num_labels: int


class Dataset(Value):
    """Training examples, split by document.

    Attributes:
        questions_file: JSON lines of HeldOutQuestion, from documents of the test split.
        ledger_file: JSON lines of TokenVerdict, one a document: every token accounted for.
        num_tokens_dropped: tokens of the documents that are in no example.
        num_tokens_repeated: tokens that stand in a passage and in an answer made from it.
        longest_example: tokens.
        sha256: over the three splits.
    """

    train: Split
    valid: Split
    test: Split
    questions_file: str
    ledger_file: str
    num_questions: int
    num_tokens_dropped: int
    num_tokens_repeated: int
    longest_example: int
    sha256: str


class TokenVerdict(Value):
    """What happened to the tokens of one document: a line of the dataset ledger.

    `num_tokens` of clean text (and conversations) = `num_used` + `num_dropped`.
    """

    source: str
    split: Literal["train", "valid", "test"]
    num_tokens: int
    num_used: int
    num_dropped: int
    num_repeated: int
    reason: str = ""


class HeldOutQuestion(Value):
    """A question whose answer stands in a document that was not trained on."""

    question: str
    answer: str
    source: str


# ---------------------------------------------------------------- machine and base


class Gpu(Value):
    """An accelerator that torch can use, or why it cannot."""

    name: str
    total_bytes: int
    free_bytes: int
    capability: str
    supports_bf16: bool
    usable: bool
    why_not: str = ""


class Cpu(Value):
    """The processor as the job sees it: cores inside the cgroup and affinity, measured speed."""

    name: str
    num_cores: int
    instruction_sets: tuple[str, ...]
    gflops_fp32: float


class Finding(Value):
    """Something about the machine that should be mended, and how."""

    what: str
    fix: str


class Hardware(Value):
    """What the machine has, measured now.

    Attributes:
        memory_bytes: RAM a job can still take, inside the cgroup limit.
        memory_total_bytes: RAM in all, inside the cgroup limit.
        disk_free_bytes: free where runs are written.
    """

    VOLATILE: ClassVar[frozenset[str]] = frozenset(
        {"gpus", "cpu", "memory_bytes", "memory_total_bytes", "disk_free_bytes", "findings"}
    )

    gpus: tuple[Gpu, ...]
    cpu: Cpu
    memory_bytes: int
    memory_total_bytes: int
    disk_free_bytes: int
    findings: tuple[Finding, ...] = ()


class BaseSpec(Value):
    """A base model on disk: its shape, read from config.json and the weight headers.

    Attributes:
        name: how people call it.
        folder: absolute path.
        architecture: class name from config.json, such as LlamaForCausalLM.
        num_parameters: all weights, from the safetensors headers.
        weights_bytes: bytes of the weight files.
        context: positions it was made for.
        tied: whether head and embedding are one matrix.
        exportable: whether the exporter handles it; `why_not` says why it does not.
        sha256: over the configuration, tokenizer and weight files.
    """

    name: str
    folder: str
    architecture: str
    model_type: str
    num_layers: int
    width: int
    intermediate_width: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    vocab_size: int
    context: int
    tied: bool
    num_parameters: int
    weights_bytes: int
    dtype: str
    licence: str
    exportable: bool
    why_not: str = ""
    sha256: str


class Rejected(Value):
    """A choice that was not taken, and why, in numbers."""

    choice: str
    reason: str


class BaseChoices(Value):
    """Base models that can be chosen from, and those that are there but cannot be used."""

    specs: tuple[BaseSpec, ...]
    broken: tuple[Rejected, ...] = ()


class BaseChoice(Value):
    """The base model that fits best, and why the others do not."""

    spec: BaseSpec
    rejected: tuple[Rejected, ...] = ()


# ---------------------------------------------------------------- plan


Method = Literal["qlora", "lora", "adapter", "full"]


class MemoryEstimate(Value):
    """Peak memory of training by term, in bytes."""

    runtime_bytes: int
    weights_bytes: int
    trainable_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    head_bytes: int

    @property
    def total_bytes(self) -> int:
        """Sum of the terms."""
        return (
            self.runtime_bytes
            + self.weights_bytes
            + self.trainable_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
            + self.head_bytes
        )


class TrainPlan(Value):
    """How the model will be trained, with the reasons.

    Attributes:
        device: "cpu" or "cuda:0".
        compute_dtype: "float32" or "bfloat16".
        rank: of the low-rank update (qlora, lora) or width of the bottleneck (adapter).
        tunes_head: whether the language-model head gets a low-rank update too.
        recompute: whether activations are computed twice to save memory.
        returns_memory: whether freed memory goes back to the system at once (CPU): several times
            less is held, at a tenth fewer tokens a second.
        sequence_length: tokens of a pack: the micro-batch.
        packs_per_step: packs whose gradients make one optimizer update.
        num_epochs: times the training split is read at most.
        num_steps: optimizer updates at most.
        threads: processor cores the job uses.
        seconds: expected time by stage.
        disk_bytes: disk the run needs.
        reason: why this choice, for people.
    """

    base: str
    method: Method
    device: str
    compute_dtype: Literal["float32", "bfloat16"]
    rank: int
    tunes_head: bool
    recompute: bool
    returns_memory: bool = False
    sequence_length: int
    packs_per_step: int
    num_epochs: int
    num_steps: int
    threads: int
    memory: MemoryEstimate
    memory_limit_bytes: int
    seconds: dict[str, float]
    disk_bytes: int
    rejected: tuple[Rejected, ...]
    reason: str


# ---------------------------------------------------------------- results


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
        planned_memory_bytes: what the plan said.
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


class EvalReport(Value):
    """Base against tuned on held-out documents.

    Attributes:
        improvement: (base loss - tuned loss) / base loss.
        improvement_low: lower bound of its 95 % interval, paired bootstrap over documents.
        improvement_high: upper bound.
        text_improvement: the same on plain text alone, with its bounds.
        answers_file: JSON lines of the generated answers; private, stays in the run.
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
    """The graph that ships, and the proof that it is the model that was trained."""

    onnx: OnnxModel
    parity: ParityReport


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
