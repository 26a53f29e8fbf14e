"""What `appliance bases` knows about each base, as `--json` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from appliance.bases.catalogue import (
    Place,
    find_place,
    find_why_not_offered,
    list_places,
    read_place,
)
from appliance.bases.known import (
    KnownBase,
    explain_licence,
    find_known,
    imagine_spec,
    list_known,
)
from appliance.errors import BaseModelError
from appliance.planning.handover import estimate_export
from appliance.planning.memory import estimate_memory
from appliance.planning.training import Training

if TYPE_CHECKING:
    from appliance.values import BaseSpec

PACK_TOKENS = 1024
"""Pack length for which needs are told; `appliance report` knows this machine's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a base needs, in bytes: to tune with QLoRA on a GPU or on the CPU, and to export."""

    disk_bytes: int
    gpu_bytes: int
    cpu_bytes: int
    export_bytes: int


def estimate_needs(spec: BaseSpec) -> Needs:
    """Peak memory by QLoRA with packs of `PACK_TOKENS`, recomputing, and of the export."""
    gpu = Training(
        method="qlora",
        sequence_length=PACK_TOKENS,
        recompute=True,
        device="cuda:0",
        compute_dtype="bfloat16",
    )
    cpu = Training(method="qlora", sequence_length=PACK_TOKENS, recompute=True, returns_memory=True)
    return Needs(
        disk_bytes=spec.weights_bytes,
        gpu_bytes=estimate_memory(spec, gpu).total_bytes,
        cpu_bytes=estimate_memory(spec, cpu).total_bytes,
        export_bytes=estimate_export(spec),
    )


def collect_list() -> dict[str, Any]:
    """Every base that is present or known, for `--json`."""
    places = list_places()
    here = {place.name for place in places}
    return {
        "present": [_collect_place(place) for place in places],
        "known": [_collect_known(base) for base in list_known() if base.name not in here],
    }


def collect_base(name: str) -> dict[str, Any]:
    """One base, for `--json`.

    Raises:
        BaseModelError: it is neither present nor known.
    """
    place = find_present(name)
    if place is not None:
        return _collect_spec(read_place(place), place.where)
    known = find_known(name)
    assert known is not None  # or it would not be absent without an error
    return _collect_known(known)


def find_present(name: str) -> Place | None:
    """Where a base lies; None for one that is only known.

    Raises:
        BaseModelError: it is neither present nor known.
    """
    try:
        return find_place(name)
    except BaseModelError:
        if find_known(name) is None:
            raise
        return None


def _collect_place(place: Place) -> dict[str, Any]:
    try:
        return _collect_spec(read_place(place), place.where)
    except BaseModelError as exc:
        return {"name": place.name, "where": place.where, "broken": f"{exc.what}: {exc.why}"}


def _collect_spec(spec: BaseSpec, where: str) -> dict[str, Any]:
    terms = explain_licence(spec.licence)
    return spec.model_dump(mode="json") | {
        "where": where,
        "commercial": terms.commercial,
        "licence_title": terms.title,
        "licence_reason": terms.reason,
        "not_offered": find_why_not_offered(spec),
        "needs": _collect_needs(spec),
    }


def _collect_known(base: KnownBase) -> dict[str, Any]:
    spec = imagine_spec(base)
    return {
        "name": base.name,
        "where": "hub",
        "pretrained": base.pretrained,
        "instruct": base.instruct,
        "architecture": base.architecture,
        "config": base.config,
        "num_parameters": base.num_parameters,
        "context": base.context,
        "licence": base.terms.licence,
        "licence_title": base.terms.title,
        "licence_reason": base.terms.reason,
        "licence_read": base.licence_read,
        "commercial": base.terms.commercial,
        "languages": base.languages,
        "note": base.note,
        "url": base.url,
        "exportable": not base.why_not,
        "why_not": base.why_not,
        "needs": _collect_needs(spec),
    }


def _collect_needs(spec: BaseSpec) -> dict[str, int]:
    return asdict(estimate_needs(spec)) | {"pack_tokens": PACK_TOKENS}
