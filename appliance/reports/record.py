"""The report of a run as one value: the page, the JSON and the markdown all draw from it.

It holds the values of the stages as they are, so that no figure can get lost on the way, and what
no value holds: how the losses went, what the ledgers say in sum, and where the run was made.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from appliance.values import (
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    EvalReport,
    FileVerdict,
    LeakReport,
    MergedModel,
    ProvenModel,
    TrainPlan,
    TunedModel,
    TuneResult,
    Verdict,
)
from appliance.values.record import Value

SCHEMA_VERSION = 1
"""Counts up when a field is renamed, removed or means something else; new fields do not count."""

State = Literal["finished", "refused", "failed", "stopped", "unfinished"]
"""How a run ended; "unfinished": it did not, or was killed."""


class Ending(Value):
    """Why a run has no bundle: the three parts of its error."""

    error: str
    what: str
    why: str
    fix: str


class Step(Value):
    """Means over some optimizer updates, named by the last of them."""

    step: int
    loss: float
    lr: float
    tokens_per_second: float
    gradient_norm: float


class HeldOutLoss(Value):
    """Loss on the validation split after a step."""

    step: int
    loss: float
    is_best: bool


class WayBack(Value):
    """Training fell ill at a step and went on from an earlier one."""

    step: int
    to_step: int
    reason: str
    rate_factor: float


class Curves(Value):
    """How training went.

    Attributes:
        num_steps: as planned; 0 where training did not begin.
        steps: at most some hundreds of points, whatever the length of the run.
    """

    num_steps: int = 0
    steps: tuple[Step, ...] = ()
    held_out: tuple[HeldOutLoss, ...] = ()
    ways_back: tuple[WayBack, ...] = ()


class Reason(Value):
    """Why files were not used, what helps, and how many there are."""

    verdict: str
    reason: str
    fix: str
    num_files: int
    num_bytes: int


class BoilerplateText(Value):
    """A line that was taken out of many files; the text is in the run, not here."""

    num_files: int
    num_characters: int


class DocumentsLedger(Value):
    """What happened to the files, in sum; and file by file where names may be told.

    Attributes:
        num_by_verdict: files.
        bytes_by_verdict: of these files.
        num_remarked: files that were used, with a remark.
        reasons: the most frequent first; every reason that names no file.
        boilerplate: the most widespread first.
        files: in the run's own report: those that were not used or of which something was masked
            first; at most as many as were asked for.
        num_files_left_out: of these.
    """

    num_by_verdict: dict[str, int] = Field(default_factory=dict)
    bytes_by_verdict: dict[str, int] = Field(default_factory=dict)
    num_remarked: int = 0
    reasons: tuple[Reason, ...] = ()
    boilerplate: tuple[BoilerplateText, ...] = ()
    files: tuple[FileVerdict, ...] = ()
    num_files_left_out: int = 0


class TokensBySplit(Value):
    """What happened to the tokens of the documents of a split."""

    split: str
    num_documents: int = 0
    num_tokens: int = 0
    num_used: int = 0
    num_dropped: int = 0
    num_repeated: int = 0


class TokenLedger(Value):
    """Every token accounted for, in sum.

    Attributes:
        reasons: why tokens were dropped, and how many.
    """

    splits: tuple[TokensBySplit, ...] = ()
    reasons: dict[str, int] = Field(default_factory=dict)


class Setting(Value):
    """A key of the recipe, what it says, and where that came from."""

    key: str
    value: str
    origin: Literal["person", "recipe", "default"]


class Origin(Value):
    """Where and from what a run was made; no name of a machine, a person or a folder.

    Attributes:
        kind: which line of the pipeline.
        appliance_version: of the program.
        versions: of the packages it stands on.
        system: kernel and processor family.
        python: its version.
        hardware: as probed, without serial numbers and other programs.
        settings: every key of the recipe; words to be masked are counted, not told.
    """

    kind: str = ""
    appliance_version: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    system: str = ""
    python: str = ""
    hardware: dict[str, Any] = Field(default_factory=dict)
    settings: tuple[Setting, ...] = ()


class StageDone(Value):
    """A stage as its receipt tells it.

    Attributes:
        name: of the stage.
        inputs: hash of what went in.
        seconds: it took.
        value: what it made, as JSON.
    """

    name: str
    inputs: str
    seconds: float
    value: dict[str, Any]


class RunReport(Value):
    """All that is known of a run.

    Attributes:
        schema_version: of this layout.
        form: "private" names files of the documents and paths of this machine; "public" does not
            and goes into the bundle.
        name: of the run; "" in the public form.
        folder: of the run; "" in the public form.
        made_at: seconds since 1970, when it was put together.
        state: how the run ended.
        ending: why it has no bundle.
        signed: who vouches for the bundle, in words; "" where nobody looked.
        stages: every receipt, so that no figure is lost.
        result: what `appliance tune --json` prints.
        corpus: and the following: the values of the stages; None where a stage was not done.
        pretraining: what continued pretraining did before, base against pretrained.
    """

    schema_version: int = SCHEMA_VERSION
    form: Literal["private", "public"]
    name: str = ""
    folder: str = ""
    made_at: float
    state: State
    ending: Ending | None = None
    signed: str = ""
    origin: Origin = Origin()
    corpus: Corpus | None = None
    base: BaseSpec | None = None
    dataset: Dataset | None = None
    plan: TrainPlan | None = None
    tuned: TunedModel | None = None
    evaluation: EvalReport | None = None
    pretraining: EvalReport | None = None
    leaks: LeakReport | None = None
    verdict: Verdict | None = None
    merged: MergedModel | None = None
    proven: ProvenModel | None = None
    bundle: Bundle | None = None
    result: TuneResult | None = None
    curves: Curves = Curves()
    documents: DocumentsLedger = DocumentsLedger()
    tokens: TokenLedger = TokenLedger()
    stages: tuple[StageDone, ...] = ()
