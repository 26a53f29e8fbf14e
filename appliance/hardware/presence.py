"""Signs of NVIDIA's cards and driver in the file system: whether the driver is worth asking.

Reading them takes no time and cannot hang, whatever state the driver is in.
"""

from __future__ import annotations

from pathlib import Path

NVIDIA = "0x10de"
"""NVIDIA's number in the register of PCI vendors."""

CARD_CLASSES = ("0x03", "0x12")
"""Display controllers and processing accelerators.

Source: PCI Code and ID Assignment Specification, class codes.
"""

DRIVER_FILES = ("dev/nvidiactl", "dev/dxg", "dev/nvhost-ctrl", "sys/module/nvidia")
"""Of the driver on a server, under Windows (WSL), on a small board, and before its first use."""


def has_nvidia(system: Path = Path("/")) -> bool:
    """Whether there may be a card or a driver, so that asking the driver makes sense.

    Args:
        system: root of the file system that holds `dev` and `sys`.
    """
    return any((system / name).exists() for name in DRIVER_FILES) or count_nvidia_cards(system) > 0


def count_nvidia_cards(system: Path = Path("/")) -> int:
    """NVIDIA's cards on the bus, whether or not a driver speaks for them.

    Args:
        system: root of the file system that holds `sys`.
    """
    folders = (system / "sys/bus/pci/devices").glob("*")
    return sum(
        _read(folder / "vendor") == NVIDIA and _read(folder / "class").startswith(CARD_CLASSES)
        for folder in folders
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
