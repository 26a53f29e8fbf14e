"""Every test has its own store, its own system store, and its own hub cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.bases import catalogue


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """Folder of the user's store; not made yet."""
    monkeypatch.delenv("APPLIANCE_BASES", raising=False)
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(catalogue, "SYSTEM_STORE", tmp_path / "system")
    return tmp_path / "home" / "bases"


@pytest.fixture
def cache(tmp_path) -> Path:
    """Folder of the hub's cache; not made yet."""
    return tmp_path / "hub"
