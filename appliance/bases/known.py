"""Base models worth bringing: `known.yaml` as typed values, and what their licences mean."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from appliance.bases.config import read_shape
from appliance.bases.families import Shape, find_why_not_exportable
from appliance.bases.licence import forbids_commercial_use
from appliance.bases.parameters import ARCHITECTURES, count_parameters
from appliance.values import BaseSpec

FILE = Path(__file__).with_name("known.yaml")

Commercial = Literal["yes", "no", "conditional", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a licence means for a company.

    Attributes:
        licence: its identifier, as the hub spells it.
        title: its name.
        commercial: whether commercial use is permitted.
        reason: why, or under which condition.
        url: where its text stands; "" where that is not known.
    """

    licence: str
    title: str
    commercial: Commercial
    reason: str
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownBase:
    """A base model that could be brought here.

    Attributes:
        name: its name on the hub.
        pretrained: the hub's name of the same model before instruction tuning; "" for none.
        instruct: whether it was tuned to follow instructions.
        architecture: class name.
        config: fields of its config.json that decide shape, rotary embedding and window.
        shape: its sizes.
        num_parameters: computed from the shape.
        context: positions it was made for.
        terms: its licence.
        licence_read: whether the licence was read where the model is published.
        languages: as the card tells them; "" where it was not read.
        note: what else to know before bringing it.
        shape_from: where the sizes were read.
        why_not: why it cannot be tuned and exported here; "" when it can.
    """

    name: str
    pretrained: str
    instruct: bool
    architecture: str
    config: dict[str, Any]
    shape: Shape
    num_parameters: int
    context: int
    terms: Terms
    licence_read: bool
    languages: str
    note: str
    shape_from: str
    why_not: str

    @property
    def url(self) -> str:
        """Its card, which states the licence."""
        return f"https://huggingface.co/{self.name}"

    @property
    def download_bytes(self) -> int:
        """Size of its weights in 16 bit, as they are published."""
        return 2 * self.num_parameters


@cache
def list_known() -> tuple[KnownBase, ...]:
    """All known bases, the smallest first."""
    found = [_parse(row) for row in _read_file()["bases"]]
    return tuple(sorted(found, key=lambda base: base.num_parameters))


def find_known(name: str) -> KnownBase | None:
    """The known base of a name, or of its pretrained form; case does not matter."""
    wanted = name.lower()
    for base in list_known():
        if wanted and wanted in (base.name.lower(), base.pretrained.lower()):
            return base
    return None


def spell_name(name: str) -> str:
    """A name as the hub spells it, where it is a known one."""
    known = find_known(name)
    spellings = (known.name, known.pretrained) if known else ()
    return next((spelling for spelling in spellings if spelling.lower() == name.lower()), name)


def imagine_spec(known: KnownBase) -> BaseSpec:
    """The description that a known base would have if it were here, to plan with."""
    return BaseSpec(
        **asdict(known.shape),
        name=known.name,
        folder="",
        architecture=known.architecture,
        model_type=known.config["model_type"],
        num_parameters=known.num_parameters,
        weights_bytes=known.download_bytes,
        dtype="bfloat16",
        licence=known.terms.licence,
        exportable=not known.why_not,
        why_not=known.why_not,
        sha256="",
    )


def list_near(name: str, names: list[str]) -> list[str]:
    """Up to three names that look like one, the nearest first; the organisation counts little."""
    short = {other: other.rpartition("/")[2].lower() for other in names}
    wanted = name.rpartition("/")[2].lower()
    near = difflib.get_close_matches(wanted, set(short.values()), n=3, cutoff=0.6)
    return [next(other for other in names if short[other] == match) for match in near]


def explain_licence(licence: str) -> Terms:
    """What a licence means; one that is not in the catalogue is judged by its words."""
    row = _read_file()["licences"].get(licence.lower())
    if row is not None:
        return Terms(licence=licence.lower(), **row)
    if forbids_commercial_use(licence):
        reason = "its name says that commercial use is not permitted"
        return Terms(licence=licence, title=licence, commercial="no", reason=reason)
    reason = "read its text before you use it"
    return Terms(licence=licence, title=licence, commercial="unknown", reason=reason)


@cache
def _read_file() -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 7 ms instead of 50
    with FILE.open(encoding="utf-8") as file:
        body: dict[str, Any] = yaml.load(file, Loader=loader)
    return body


def _parse(row: dict[str, Any]) -> KnownBase:
    architecture: str = row["architecture"]
    config = row["config"] | {
        "architectures": [architecture],
        "model_type": ARCHITECTURES[architecture].model_type,
        "max_position_embeddings": row["context"],
    }
    shape = read_shape(FILE, config)
    return KnownBase(
        name=row["name"],
        pretrained=row.get("pretrained", ""),
        instruct=row.get("instruct", True),
        architecture=architecture,
        config=config,
        shape=shape,
        num_parameters=count_parameters(architecture, shape, config),
        context=shape.context,
        terms=explain_licence(row["licence"]),
        licence_read=row["licence_read"],
        languages=row.get("languages", ""),
        note=row.get("note", ""),
        shape_from=row["shape_from"],
        why_not=find_why_not_exportable(architecture, config),
    )
