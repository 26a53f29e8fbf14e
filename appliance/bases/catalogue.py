"""Which base models there are: inside the package, in the stores, in a hub's cache, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.bases.hub_cache import find_snapshot, list_cached, locate_cache
from appliance.bases.known import (
    explain_licence,
    find_known,
    list_known,
    list_near,
    spell_name,
)
from appliance.bases.licence import UNKNOWN
from appliance.bases.spec import read_spec
from appliance.bases.store import EMBEDDED, SYSTEM_STORE, list_stored, locate_store
from appliance.errors import BaseModelError
from appliance.units import format_bytes
from appliance.values import BaseChoices, BaseSpec, Rejected

Where = Literal["package", "store", "system", "cache", "folder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a base lies; it was not looked into yet.

    Attributes:
        inside: links in its folder may lead no further than this one.
    """

    name: str
    folder: Path
    where: Where
    inside: Path


def find_bases(base: str | None = None) -> BaseChoices:
    """Base models to choose from.

    Args:
        base: None for all that are present and may be used commercially; "embedded"; the name of a
            model in a store or in the hub's cache; or the path of a model folder.

    Returns:
        The models, and those that are there but are not offered, with the reason.

    Raises:
        BaseModelError: the named base is missing or cannot be used.
    """
    if base is not None:
        return BaseChoices(specs=(read_place(find_place(base)),))
    specs: list[BaseSpec] = []
    broken: list[Rejected] = []
    for place in list_places():
        try:
            spec = read_place(place)
        except BaseModelError as exc:
            broken.append(Rejected(choice=place.name, reason=f"{exc.what}: {exc.why}"))
            continue
        reason = find_why_not_offered(spec)
        if reason:
            broken.append(Rejected(choice=spec.name, reason=reason))
        else:
            specs.append(spec)
    return BaseChoices(specs=tuple(specs), broken=tuple(broken))


def list_places() -> list[Place]:
    """Every base that is present, each name once: package, user's store, system's store, cache."""
    folder = Path(__file__).parent / EMBEDDED
    places = [Place(name=EMBEDDED, folder=folder, where="package", inside=folder)]
    stores: tuple[tuple[Where, Path], ...] = (("store", locate_store()), ("system", SYSTEM_STORE))
    places += [
        Place(name=base.name, folder=base.folder, where=where, inside=base.folder)
        for where, store in stores
        for base in list_stored(store)
    ]
    places += [
        Place(name=base.name, folder=base.folder, where="cache", inside=base.inside)
        for base in list_cached(locate_cache())
    ]
    first: dict[str, Place] = {}
    for place in places:
        first.setdefault(place.name, place)
    return list(first.values())


def find_place(base: str) -> Place:
    """Where a base lies.

    Args:
        base: its name, or the path of its folder (also one of a hub's cache).

    Raises:
        BaseModelError: it is not on this machine.
    """
    path = Path(base).expanduser()
    if base != EMBEDDED and path.is_dir():
        cached = find_snapshot(path)
        if cached is not None:
            folder, inside = cached.folder, cached.inside
            return Place(name=cached.name, folder=folder, where="cache", inside=inside)
        name = path.resolve().name
        return Place(name=name, folder=path, where="folder", inside=path)
    places = list_places()
    for place in places:
        if place.name == base:
            return place
    raise _explain_absent(base, [place.name for place in places])


def read_place(place: Place) -> BaseSpec:
    """Read and check a base; a licence that its folder does not state is taken from the catalogue.

    Raises:
        BaseModelError: it cannot be used.
    """
    spec = read_spec(place.folder, place.name, inside=place.inside)
    known = find_known(place.name)
    if known is not None and spec.licence == UNKNOWN:
        return spec.model_copy(update={"licence": known.terms.licence})
    return spec


def find_why_not_offered(spec: BaseSpec) -> str:
    """Why a base is only used when a person asks for it by name; "" when it is offered."""
    known = find_known(spec.name)
    stated = explain_licence(spec.licence)
    for terms in (stated, known.terms if known else stated):
        if terms.commercial == "no":
            return (
                f"its licence ({terms.title}) forbids commercial use: {terms.reason}; "
                f"it is used only when asked for by name: --base {spec.name}"
            )
    return ""


def _explain_absent(base: str, present: list[str]) -> BaseModelError:
    if base.startswith(("/", ".", "~")) or base.count("/") > 1:
        return BaseModelError(
            f"base model folder {base} is not there",
            why="no folder has this name",
            fix="pass the path of a model folder, or a name: appliance bases list",
        )
    near = list_near(base, present)
    known = find_known(base)
    names = [name for row in list_known() for name in (row.name, row.pretrained) if name]
    others = [] if known else [name for name in list_near(base, names) if name not in near]
    why = f"present: {', '.join(present)}; nothing is ever downloaded"
    if near or others:
        why += f"; similar names: {', '.join(near + others)}"
    if near:
        fix = f"--base {near[0]}"
    else:
        wanted = base if known or not others else others[0]
        fix = explain_bringing(wanted)
    if known:
        why += f"; it is {format_bytes(known.download_bytes)}, {known.terms.title}"
    return BaseModelError(f"base model {base} is not on this machine", why=why, fix=fix)


def explain_bringing(name: str) -> str:
    """How a model of the hub gets here."""
    name = spell_name(name)
    folder = name.rpartition("/")[2]
    return (
        f"where there is a network: hf download {name} --local-dir {folder}; "
        f"bring the folder here, then: appliance bases add PATH/{folder} --name {name}"
    )
