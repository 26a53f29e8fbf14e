"""Cards with known sizes: to tell what a box could do before it is bought, and how fast a card is.

The table is `cards.yaml`.
"""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import UsageError
from appliance.hardware.support import CudaSupport, find_why_not
from appliance.units import GIB, MIB
from appliance.values import Finding, Gpu, Hardware

DRIVER_BYTES = 454 * MIB
"""What the driver keeps of a card's memory for itself on a machine without a screen.

Source: "reserved" of nvidia-smi for a card of 48 GiB, as published; smaller cards keep less.
"""

SYSTEM_BYTES = 2 * GIB
"""What the system takes of memory that a card shares with it; assumed."""

ECC_SHARE = 1 / 16
"""Memory that error correction takes on cards without memory chips of its own.

Source: data sheets against what the driver reports, as published: 23,028 MiB of 24 GiB on an A10,
15,360 MiB of 16 GiB on a T4, 46,068 MiB of 48 GiB on an L40S.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCard:
    """A card as its data sheet has it; the fields are explained in `cards.yaml`."""

    name: str
    memory_gib: int
    tflops: float
    gb_per_second: float
    capability: str
    source: str
    inline_ecc: bool = False
    shared_memory: bool = False
    also: tuple[str, ...] = ()

    @property
    def flops_per_second(self) -> float:
        """Dense 16-bit matrix products."""
        return self.tflops * 1e12

    @property
    def memory_bytes_per_second(self) -> float:
        """Of its memory."""
        return self.gb_per_second * 1e9

    @property
    def memory_bytes(self) -> int:
        """What the driver shows of its memory."""
        return int(self.memory_gib * GIB * (1 - ECC_SHARE * self.inline_ecc))


@functools.cache
def list_cards() -> tuple[KnownCard, ...]:
    """All cards of the table."""
    import yaml

    text = Path(__file__).with_name("cards.yaml").read_text(encoding="utf-8")
    rows = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return tuple(KnownCard(**(row | {"also": tuple(row.get("also", ()))})) for row in rows)


def find_card(name: str) -> KnownCard | None:
    """The card of this name, as the driver or a person writes it; None for an unknown one."""
    wanted = _simplify(name)
    for card in list_cards():
        if wanted in map(_simplify, (card.name, *card.also)):
            return card
    return None


def imagine_card(hardware: Hardware, name: str) -> Hardware:
    """This machine, had it one card of the table and the software for it.

    Args:
        hardware: the machine.
        name: of the card.

    Raises:
        UsageError: the table has no such card.
    """
    card = find_card(name)
    if card is None:
        raise UsageError(
            f"no card {name} is in the table",
            why=f"it has {len(list_cards())}, such as {', '.join(_suggest(name))}",
            fix=f"--what-if {_quote(_suggest(name)[0])}",
        )
    major, _, minor = card.capability.partition(".")
    capability = int(major), int(minor)
    everything = CudaSupport(torch_cuda="13.0", bitsandbytes_cuda=frozenset({"130"}))
    finding = find_why_not(everything, capability, driver_cuda=0)
    free = card.memory_bytes - (SYSTEM_BYTES if card.shared_memory else DRIVER_BYTES)
    gpu = Gpu(
        name=card.name,
        total_bytes=card.memory_bytes,
        free_bytes=free,
        capability=card.capability,
        supports_bf16=capability >= (8, 0),
        usable=not finding.what,
        why_not=finding.what,
        fix=finding.fix,
        peak_flops_per_second=card.flops_per_second,
        peak_bytes_per_second=card.memory_bytes_per_second,
    )
    memory = {"memory_bytes": free, "memory_total_bytes": card.memory_bytes}
    changes = memory if card.shared_memory else {}
    return hardware.model_copy(
        update={"gpus": (gpu,), "findings": _explain(gpu, card, finding), **changes}
    )


def _explain(gpu: Gpu, card: KnownCard, finding: Finding) -> tuple[Finding, ...]:
    if finding.what:
        what = f"a {gpu.name} could not be used: {finding.what}"
        return (Finding(what=what, fix="choose a newer card", level="error"),)
    what = (
        f"the {gpu.name} is imagined: {card.tflops:g} TFLOP/s and {card.gb_per_second:g} GB/s "
        f"are its data sheet's ({card.source})"
    )
    return (Finding(what=what, fix="measure the real one with `appliance report`", level="note"),)


def _suggest(name: str) -> list[str]:
    """The three cards whose names are nearest."""
    spellings = {_simplify(each): card for card in list_cards() for each in (card.name, *card.also)}
    near = difflib.get_close_matches(_simplify(name), spellings, n=6, cutoff=0.0)
    return list(dict.fromkeys(spellings[spelling].name for spelling in near))[:3]


def _simplify(name: str) -> str:
    """`NVIDIA GeForce RTX 4060 Ti` and `rtx4060ti` are the same card; a laptop's is another one."""
    words = re.sub(r"\b(nvidia|geforce|tesla|quadro|generation|gpu)\b", " ", name.lower())
    return re.sub(r"[^a-z0-9]", "", words)


def _quote(name: str) -> str:
    return f'"{name}"' if " " in name else name
