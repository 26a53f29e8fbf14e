"""The sections of a recipe and their keys. Everything left at `auto` is decided by the planner."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
PackTokens = Annotated[int, Field(ge=32)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Rule = Annotated[
    str,
    Field(
        pattern=r"^(json:.*|sections:.*\w.*|language: *(de|en|es|fr|it)|(use|avoid):.*\w.*"
        r"|words: *\d{1,5})$"
    ),
]
"""What `evaluation/rules.py` can check of an answer."""

Kind = Literal["asked", "steps", "headings", "definitions", "rows", "cloze"]
Kinds = Annotated[tuple[Kind, ...], Field(strict=False)]
Words = Annotated[tuple[str, ...], Field(strict=False)]
Weights = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]], Field(strict=False)
]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hashes = Annotated[tuple[Hash, ...], Field(strict=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DocumentsRecipe(_Section):
    """How documents are read."""

    max_file_mebibytes: int = Field(64, ge=1, description="Larger files are skipped, and said.")
    seconds_per_file: float = Field(30.0, gt=0, description="Time limit of a converter.")
    mask_secrets: bool = Field(
        True, description="Replace keys, passwords, and numbers of accounts, cards and identities."
    )
    mask_contacts: bool = Field(
        True, description="Replace e-mail and IP addresses and telephone numbers."
    )
    mask_words: Words = Field((), description="Names and code words to replace, or a file of them.")
    mask_except: Words = Field((), description="What stays: `*@example.com`, or a kind, as `ip`.")
    without: Hashes = Field(
        (), description="Files that must not be used, by sha256; `tune --without FILE` adds one."
    )
    boilerplate: Literal["drop", "keep"] = Field(
        "drop", description="Headers, footers and navigation that many files repeat."
    )
    near_duplicates: Literal["drop", "keep"] = Field(
        "drop", description="Of documents that nearly repeat another, keep one, or all."
    )
    cache_mebibytes: int = Field(
        1024, ge=0, description="Converted text kept in the run, to read only changed files; 0: no."
    )


class DatasetRecipe(_Section):
    """How examples are made."""

    passage_tokens: int = Field(384, ge=32, description="Tokens of a passage at most.")
    valid_share: float = Field(0.1, gt=0, lt=0.4, description="Documents kept for choices.")
    test_share: float = Field(0.15, gt=0, lt=0.4, description="Documents kept for the verdict.")
    pairs: Literal["auto", "none", "headings"] = Field(
        "auto",
        description="Questions and answers from structure: auto, none, or one for every heading.",
    )
    canaries: int = Field(
        0,
        ge=0,
        le=64,
        description="Sentences with a made-up code planted in the training text, to measure how "
        "well the model learns by heart what it reads; they stay in it.",
    )
    kinds: Kinds = Field(
        ("asked", "steps", "headings", "definitions", "rows"),
        description="What pairs are made from: asked, steps, headings, definitions, rows, cloze.",
    )
    pairs_by_base: Literal["no", "yes"] = Field(
        "no",
        description="yes: the base, an instruct model, writes pairs too; those that the text bears "
        "out are kept.",
    )
    system: str = Field("", description="Instruction before every made pair, for role and tone.")
    refusal_share: float = Field(
        0.0, ge=0, le=0.5, description="Part of the pairs that no document answers."
    )
    refusal: str = Field(
        "The documents do not say that.", min_length=1, description="The answer to those."
    )
    seed: int = Field(20261123, description="Order and split.")


class TuneRecipe(_Section):
    """How the model is trained."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"num_processes", "num_nodes"})

    method: Literal["auto", "qlora", "lora", "adapter", "full", "prompt"] = Field(
        "auto", description="auto: the planner's ladder."
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank of the low-rank update.")
    virtual_tokens: int = Field(
        16, ge=1, le=256, description="Prompt tuning: learned tokens before every text."
    )
    head: Literal["auto", "yes", "no"] = Field(
        "auto", description="Low-rank update of the head too; auto: when it is small."
    )
    lr: Rate | Literal["auto"] = Field("auto", description="auto: by a probe on held-out text.")
    lora_b_rate: float = Field(
        1.0,
        ge=1,
        le=64,
        description="Low-rank updates: learning rate of B, times that of A (LoRA+).",
    )
    embedding_noise: float = Field(
        0.0, ge=0, le=50, description="Noise on embeddings while learning (NEFTune); 5 is usual."
    )
    epochs: Count | Literal["auto"] = Field("auto", description="auto: more text, fewer epochs.")
    sequence_length: PackTokens | Literal["auto"] = Field("auto", description="Tokens of a pack.")
    threads: Count | Literal["auto"] = Field("auto", description="Processor cores.")
    num_processes: Count | Literal["auto"] = Field(
        "auto", description="That train together on a machine; auto: GPUs that fit, one on a CPU."
    )
    num_nodes: Count = Field(
        1, description="Machines that train together, with the run on a disk that all of them see."
    )
    cache_hidden_states: Literal["auto", "off", "memory", "disk"] = Field(
        "auto",
        description="Adapter tuning: run the frozen layers once per pack, and keep what they give; "
        "auto: from two epochs on, where it fits.",
    )
    max_forgetting: float = Field(
        0.25,
        ge=0,
        description="Rise of the loss on general text that is too much: well below it, general "
        "text is read again; beyond it, the learning rate falls.",
    )
    checkpoint_seconds: float = Field(
        30.0, gt=0, description="Time between checkpoints: what a power cut may cost."
    )
    seed: int = Field(20261123, description="Initial weights and order.")

    @property
    def tries_rates(self) -> bool:
        """Whether learning rates are tried on held-out text before training."""
        return self.lr == "auto"


class PretrainRecipe(TuneRecipe):
    """How a base reads plain text before anything else (`appliance pretrain`)."""

    lr: Rate | Literal["auto"] = Field("auto", description="auto: one that forgets little.")
    rank: int = Field(64, ge=1, le=1024, description="Rank of the low-rank update.")
    embeddings: Literal["auto", "yes", "no"] = Field(
        "auto", description="Train embeddings and head whole; auto: when there is memory for it."
    )
    embedding_rate: float = Field(
        0.5, gt=0, le=1, description="Their learning rate, as a share of the others'."
    )
    replay_share: float = Field(
        0.03, ge=0, le=0.5, description="Part of what is read that is general text."
    )
    replay: str = Field(
        "", description="Folder of general text to read again; empty: the sample that ships."
    )
    max_forgetting: float = Field(
        0.02,
        ge=0,
        description="Rise of the loss on general text that is too much: well below it, more of it "
        "is read again; beyond it, the learning rate falls.",
    )
    start: Literal["base", "nothing"] = Field(
        "base",
        description="nothing: a new tokenizer and model of the section `shape`, from this text.",
    )
    mix: Weights = Field(
        {},
        description="How often text of a source is read, by sub-folder or pattern: `{books: 0.5}`; "
        "what is not named, once.",
    )
    order: Words = Field(
        (),
        description="Sources, by sub-folder or pattern, that are read one after another; all "
        "others are read among them.",
    )
    new_terms: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Tokens added to the tokenizer for words that it cuts into many pieces.",
    )
    num_terms: int = Field(
        300, ge=0, description="Rare words of the domain that are asked for, in held-out text."
    )
    then: Literal["nothing", "tune"] = Field(
        "nothing", description="tune: go on as `appliance tune`, on the model that came out."
    )

    @property
    def tries_rates(self) -> bool:
        """Never: a trial sees what a rate gains, not what it makes the model forget."""
        return False


class ShapeRecipe(_Section):
    """What a base is like that is made from nothing (`pretrain.start: nothing`): a Llama."""

    layers: Count = Field(4, description="Layers.")
    width: int = Field(256, ge=32, multiple_of=32, description="Width of the hidden states.")
    intermediate: Count | Literal["auto"] = Field(
        "auto", description="Width inside the MLP; auto: 8/3 of the width."
    )
    heads: Count = Field(4, description="Query heads.")
    kv_heads: Count = Field(2, description="Key heads: a divisor of the query heads.")
    vocabulary: int = Field(8192, ge=320, le=262_144, description="Tokens of the tokenizer.")
    context: int = Field(1024, ge=64, description="Tokens that it reads at once.")


class EvaluateRecipe(_Section):
    """How the result is judged."""

    max_tokens: int = Field(60_000, ge=256, description="Tokens of the test split scored at most.")
    num_questions: int = Field(
        8, ge=0, description="Held-out questions answered in words, at most."
    )
    num_choices: int = Field(
        24, ge=0, le=128, description="Held-out questions answered by choice, in each way."
    )
    questions_share: float = Field(
        0.1, ge=0, description="What choosing may cost, as a share of the training's work."
    )
    rules: tuple[Rule, ...] = Field(
        (), strict=False, description="Of form, as `words: 80`: see docs/guides/assessing.md."
    )
    require_improvement: bool = Field(True, description="No bundle unless the held-out loss fell.")
    answer_tokens: int = Field(40, ge=1, description="Tokens of an answer at most.")


class AuditRecipe(_Section):
    """What the weights may give away. Where more is found, a verdict is marked."""

    max_tokens: int = Field(
        8_000, ge=256, description="Tokens of trained and of held-out text looked at, each."
    )
    max_membership: float = Field(
        0.98, ge=0.5, le=1, description="Trained documents told from others, 0.5: by chance (AUC)."
    )
    max_recall: int = Field(
        16, ge=0, description="Tokens in a row of a training text that come out word for word."
    )
    num_places: int = Field(
        32, ge=0, description="Places before a private value at which the model is let go on."
    )
    max_secrets: int = Field(0, ge=0, description="Private values that come out in the clear.")
    max_exposure: float = Field(
        8.0, ge=0, description="Bits by which a planted code ranks above chance (dataset.canaries)."
    )


class AssessRecipe(_Section):
    """How `appliance assess` tries things out."""

    trial_tokens: int = Field(
        100_000, ge=1_000, description="Training tokens that the trial tune reads at most."
    )
    num_questions: int = Field(
        128, ge=1, le=128, description="Held-out questions answered by choice, in each way."
    )


class ExportRecipe(_Section):
    """How the model is exported."""

    precision: Literal["auto", "int4", "int4-mixed", "int8", "fp32"] = Field(
        "auto", description="auto: the smallest that keeps the gain."
    )
    min_gain_kept: float = Field(
        0.98, ge=0, le=1, description="Share of the gain that the shipped model has to keep."
    )
    parity_tokens: int = Field(3_000, ge=256, description="Tokens compared at most.")


class BundleRecipe(_Section):
    """What a bundle carries beside the model."""

    search: Literal["no", "yes"] = Field(
        "no", description="yes: a search index, which holds the text of the documents."
    )


class BudgetRecipe(_Section):
    """What a job may cost at most: nothing that costs more is planned."""

    memory_gibibytes: Amount | Literal["auto"] = Field(
        "auto", description="Of the device that trains; auto: what is free."
    )
    disk_gibibytes: Amount | Literal["auto"] = Field(
        "auto", description="Of the run; auto: what is free."
    )
    hours: Amount | Literal["auto"] = Field(
        "auto", description="Of training; auto: a night, and only to choose between bases."
    )


class Recipe(_Section):
    """All decisions of a job."""

    documents: DocumentsRecipe = DocumentsRecipe()
    dataset: DatasetRecipe = DatasetRecipe()
    pretrain: PretrainRecipe = PretrainRecipe()
    shape: ShapeRecipe = ShapeRecipe()
    tune: TuneRecipe = TuneRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    audit: AuditRecipe = AuditRecipe()
    assess: AssessRecipe = AssessRecipe()
    export: ExportRecipe = ExportRecipe()
    bundle: BundleRecipe = BundleRecipe()
    budget: BudgetRecipe = BudgetRecipe()
