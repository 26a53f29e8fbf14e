"""The two models of a run: the one in its bundle, and the base that was tuned."""

from __future__ import annotations

import json
from pathlib import Path

from appliance.beside.voices import BaseVoice, TunedVoice
from appliance.errors import BundleError
from appliance.values import BaseSpec


def load_tuned(run: Path) -> TunedVoice:
    """The model of a run's bundle, verified first.

    Raises:
        BundleError: it is not there, not readable, or damaged.
    """
    from appliance.bundle.verify import find_bundle, verify_bundle
    from appliance.serving.engine import Engine

    try:
        folder = find_bundle(run).resolve()
        verify_bundle(folder)
        return TunedVoice(Engine(folder))
    except PermissionError as exc:
        raise BundleError(
            "the model cannot be read here",
            why="the run belongs to another user of this machine",
            fix="appliance jobs fetch JOB ./bundle, then appliance chat ./bundle",
        ) from exc


def load_base(run: Path) -> BaseVoice:
    """The base that a run tuned.

    Raises:
        ApplianceError: it is gone, or does not fit beside the tuned model.
    """
    try:
        receipt = json.loads((run / "receipts" / "base.json").read_text(encoding="utf-8"))
        spec = BaseSpec.model_validate(receipt["value"]["spec"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise BundleError(
            "it is not known which base this run tuned",
            why="its receipt is missing, or of another version of this program",
            fix="ask the tuned model alone",
        ) from exc
    return BaseVoice(spec)
