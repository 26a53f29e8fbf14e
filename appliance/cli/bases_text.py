"""What `appliance bases` shows to people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from appliance.bases.catalogue import (
    Place,
    explain_bringing,
    find_why_not_offered,
    list_places,
    read_place,
)
from appliance.bases.known import (
    KnownBase,
    Terms,
    explain_licence,
    find_known,
    imagine_spec,
    list_known,
)
from appliance.cli.bases_data import PACK_TOKENS, estimate_needs, find_present
from appliance.cli.output import print_row, print_table
from appliance.errors import BaseModelError
from appliance.units import format_bytes, format_count

if TYPE_CHECKING:
    from appliance.bases.importing import Offer
    from appliance.values import BaseSpec

WHERE = {
    "package": "inside the package",
    "store": "your store",
    "system": "the system's store",
    "cache": "the cache of a hub client",
    "folder": "a folder",
}
"""Places, as people call them."""


def show_list(*, show_all: bool) -> None:
    """Print what is present, then what is worth bringing."""
    places = list_places()
    here = {place.name for place in places}
    print_row("Present", f"{len(places)} on this machine")
    rows = [row for place in places for row in _tabulate_place(place)]
    _print_bases(rows)
    known = [base for base in list_known() if base.name not in here]
    usable = [base for base in known if not base.why_not and base.terms.commercial != "no"]
    print_row("Known", f"{len(usable)} more can be tuned and exported, once you bring them")
    _print_bases([_tabulate(base.name, imagine_spec(base), base.terms) for base in usable])
    others = [base for base in known if base not in usable]
    if show_all:
        print_row("Others", f"{len(others)} cannot be used as they are")
        print_table(
            ("base", "parameters", "licence", "why not"),
            [
                (
                    base.name,
                    format_count(base.num_parameters),
                    base.terms.licence,
                    base.why_not or f"{base.terms.title}: {base.terms.reason}",
                )
                for base in others
            ],
        )
    elif others:
        print_row("Others", f"{len(others)} that cannot be used as they are: --all")
    print_row(
        "Needs",
        f"memory of QLoRA with packs of {PACK_TOKENS} tokens, on a GPU or on the CPU; RAM of the "
        "export. For this machine: appliance report",
    )


def show_base(name: str) -> None:
    """Print one base.

    Raises:
        BaseModelError: it is neither present nor known.
    """
    place, known = find_present(name), find_known(name)
    if place is not None:
        spec = read_place(place)
        _print_spec(spec, explain_licence(spec.licence))
    else:
        assert known is not None  # or it would not be absent without an error
        _print_spec(imagine_spec(known), known.terms)
    if known is not None:
        _print_known(known)
    if place is None:
        print_row("Bring it", explain_bringing(name))
        return
    print_row("Here", f"{place.folder} ({WHERE[place.where]})")
    print_row("Use", find_why_not_offered(spec) or f"--base {place.name}")


def _print_known(known: KnownBase) -> None:
    kind = "instruction-tuned" if known.instruct else "pretrained only"
    pretrained = f"; pretrained form: {known.pretrained}" if known.pretrained else ""
    print_row("Kind", kind + pretrained)
    if known.languages:
        print_row("Languages", known.languages)
    if known.note:
        print_row("Note", known.note)
    seen = "seen at its publisher's" if known.licence_read else "from memory: read it first"
    print_row("Card", f"{known.url} (licence {seen}, November 2026)")


def describe_offer(offer: Offer) -> Iterator[tuple[str, str]]:
    """Rows about a base that was copied and checked, before it is added."""
    spec, terms = offer.spec, offer.terms
    yield "Base", f"{spec.name} · {_describe_shape(spec)}"
    yield "Checked", f"{format_bytes(offer.num_bytes)} copied; weights fit their configuration"
    yield "Licence", _describe_terms(terms)
    if spec.why_not:
        yield "Note", f"it cannot be tuned here: {spec.why_not}"
    if terms.commercial == "no":
        yield "Note", "it is used only when you ask for it by name"
    for row in offer.left_out:
        yield "Left out", f"{row.name}: {row.reason}"


def _tabulate_place(place: Place) -> Iterator[tuple[str, ...]]:
    try:
        spec = read_place(place)
    except BaseModelError as exc:
        print_row("Broken", f"{place.name}: {exc.what}: {exc.why}")
        return
    row = _tabulate(spec.name, spec, explain_licence(spec.licence))
    yield (*row[:-1], row[-1] + ("" if not find_why_not_offered(spec) else " · only by name"))


def _tabulate(name: str, spec: BaseSpec, terms: Terms) -> tuple[str, ...]:
    needs = estimate_needs(spec)
    commercial = "" if terms.commercial == "yes" else f" ({terms.commercial})"
    return (
        name,
        format_count(spec.num_parameters),
        format_bytes(needs.disk_bytes),
        format_bytes(needs.gpu_bytes),
        format_bytes(needs.cpu_bytes),
        format_bytes(needs.export_bytes),
        terms.licence + commercial,
    )


def _print_bases(rows: list[tuple[str, ...]]) -> None:
    head = ("base", "parameters", "disk", "tune: gpu", "or cpu", "export", "licence")
    print_table(head, rows)


def _print_spec(spec: BaseSpec, terms: Terms) -> None:
    needs = estimate_needs(spec)
    print_row("Base", f"{spec.name} · {_describe_shape(spec)}")
    print_row(
        "Shape",
        f"{spec.num_layers} layers · width {spec.width} · MLP {spec.intermediate_width} · "
        f"{spec.num_heads} heads, {spec.num_kv_heads} of keys, {spec.head_width} wide · vocabulary "
        f"{spec.vocab_size:,}{' (tied)' if spec.tied else ''} · context {spec.context:,}",
    )
    print_row("Licence", _describe_terms(terms))
    print_row("Pipeline", spec.why_not or "can be tuned, exported and served here")
    print_row(
        "Needs",
        f"{format_bytes(needs.disk_bytes)} of disk · QLoRA with packs of {PACK_TOKENS}: "
        f"{format_bytes(needs.gpu_bytes)} of GPU, or {format_bytes(needs.cpu_bytes)} of RAM · "
        f"export: {format_bytes(needs.export_bytes)} of RAM",
    )


def _describe_shape(spec: BaseSpec) -> str:
    return f"{format_count(spec.num_parameters)} parameters · {spec.architecture}"


def _describe_terms(terms: Terms) -> str:
    use = {
        "yes": "commercial use permitted",
        "no": "no commercial use",
        "conditional": "commercial use on conditions",
        "unknown": "commercial use: not known",
    }[terms.commercial]
    return f"{terms.title} · {use}: {terms.reason}" + (f" ({terms.url})" if terms.url else "")
