"""Where a dashboard keeps its tokens and its audit log."""

from __future__ import annotations

from pathlib import Path


def find_folder(named: Path | None = None) -> Path:
    """The folder that was named, or the one of this user."""
    if named is not None:
        return named.absolute()
    import platformdirs

    return platformdirs.user_state_path("appliance") / "dashboard"
