"""The values that pass between stages.

Each is frozen and holds paths, counts and hashes, never tensors, so that it survives a restart as
JSON. Paths inside a run are relative to the run's folder; `rundir.py` resolves them.
Units: bytes and tokens are int, seconds float, loss is nats per supervised token.
"""

from appliance.values.dataset import (
    Dataset,
    GeneralSource,
    HeldOutQuestion,
    Split,
    TextDataset,
    TokenVerdict,
)
from appliance.values.documents import Corpus, Document, DocumentsFolder, FileVerdict, Turn
from appliance.values.machine import (
    BaseChoice,
    BaseChoices,
    BaseSpec,
    Cpu,
    Finding,
    Gpu,
    GpuProcess,
    GpuRates,
    GpuSlice,
    Hardware,
    Limits,
    MeasuredRates,
    Rejected,
    Software,
)
from appliance.values.plan import CapacityRow, MemoryEstimate, Method, TrainPlan
from appliance.values.record import Value
from appliance.values.results import (
    Bundle,
    EvalReport,
    ExportChoice,
    GeneralScore,
    MergedModel,
    OnnxModel,
    ParityReport,
    Precision,
    ProvenModel,
    RateTrial,
    Rung,
    Score,
    TermScore,
    TunedModel,
    TuneResult,
)

__all__ = [
    "BaseChoice",
    "BaseChoices",
    "BaseSpec",
    "Bundle",
    "CapacityRow",
    "Corpus",
    "Cpu",
    "Dataset",
    "Document",
    "DocumentsFolder",
    "EvalReport",
    "ExportChoice",
    "FileVerdict",
    "Finding",
    "GeneralScore",
    "GeneralSource",
    "Gpu",
    "GpuProcess",
    "GpuRates",
    "GpuSlice",
    "Hardware",
    "HeldOutQuestion",
    "Limits",
    "MeasuredRates",
    "MemoryEstimate",
    "MergedModel",
    "Method",
    "OnnxModel",
    "ParityReport",
    "Precision",
    "ProvenModel",
    "RateTrial",
    "Rejected",
    "Rung",
    "Score",
    "Software",
    "Split",
    "TermScore",
    "TextDataset",
    "TokenVerdict",
    "TrainPlan",
    "TuneResult",
    "TunedModel",
    "Turn",
    "Value",
]
