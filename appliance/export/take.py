"""A merged model becomes the base of what comes next in the same run."""

from __future__ import annotations

from appliance.bases.spec import read_spec
from appliance.rundir import StageFolder
from appliance.values import BaseChoice, MergedModel


def take_as_base(merged: MergedModel, choice: BaseChoice, stage: StageFolder) -> BaseChoice:
    """Offer a merged model as the base.

    Args:
        merged: what pretraining made.
        choice: the base it was made from, and why not the others.
        stage: of the run.

    Returns:
        The same choice with the new weights; name and licence tell where they come from.
    """
    spec = read_spec(stage.open(merged.folder), f"{choice.spec.name}+pretrained")
    licence = choice.spec.licence
    return BaseChoice(spec=spec.model_copy(update={"licence": licence}), rejected=choice.rejected)
