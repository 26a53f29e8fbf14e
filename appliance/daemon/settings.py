"""Settings of the service: `daemon.yaml`, read at the start and on reload.

Everything has a default that suits one box with one job at a time.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from appliance.errors import RecipeError
from appliance.units import GIB

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class InboxSettings(_Section):
    """The watch folder."""

    enabled: bool = Field(True, description="Whether folders dropped into the inbox become jobs.")
    settle_seconds: float = Field(
        30.0, ge=0, description="A folder that has not changed for so long is complete."
    )
    retune_at: str | None = Field(
        None, description="Time of day (HH:MM) to tune changed folders again; null: never."
    )

    @field_validator("retune_at", mode="before")
    @classmethod
    def _check_time(cls, value: object) -> object:
        """A time without quotes is no time in YAML: 22:30 is the number 1350 there."""
        is_time = isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value)
        if value is not None and not is_time:
            raise PydanticCustomError("time", 'a time of day is written "HH:MM", with the quotes')
        return value


class Settings(_Section):
    """Settings of the service."""

    jobs_at_once: int = Field(1, ge=1, le=64, description="Jobs that may run side by side.")
    spare_cores: int = Field(0, ge=0, description="Cores that no job gets: kept for serving.")
    min_free_disk_gib: float = Field(
        1.0, ge=0, description="Below this, running jobs save a checkpoint and pause."
    )
    min_free_memory_gib: float = Field(
        2.0, ge=0, description="RAM that must be free before a job without a plan starts."
    )
    min_free_gpu_share: float = Field(
        0.8, ge=0, le=1, description="Share of a GPU that must be free before such a job starts."
    )
    silent_seconds: float = Field(
        60.0, gt=0, description="A job without a sign of life for so long is reported."
    )
    hang_seconds: float = Field(
        600.0, gt=0, description="After so long without life or progress it is started again."
    )
    cancel_seconds: float = Field(
        30.0, ge=0, description="A cancelled job that still runs after this is killed."
    )
    drain_seconds: float = Field(
        120.0,
        ge=0,
        description="When the service stops, a job that still runs after this is killed.",
    )
    document_roots: tuple[Path, ...] = Field(
        (), description="Folders that every user of the service may tune on in place."
    )
    users_group: str = Field("appliance", description="May submit jobs and see their own.")
    admins_group: str = Field("appliance-admin", description="May see and steer every job.")
    inbox: InboxSettings = InboxSettings()

    @field_validator("document_roots", mode="before")
    @classmethod
    def _read_roots(cls, value: object) -> object:
        roots = value if isinstance(value, list | tuple) else (value,)
        if not all(str(root).startswith("/") for root in roots):
            raise PydanticCustomError("roots", "a list of paths, each of which begins with /")
        return tuple(map(Path, roots))

    @property
    def min_free_disk_bytes(self) -> int:
        """Disk that must stay free."""
        return int(self.min_free_disk_gib * GIB)

    @property
    def min_free_memory_bytes(self) -> int:
        """RAM that a job without a plan needs free."""
        return int(self.min_free_memory_gib * GIB)


def load_settings(path: Path | None) -> Settings:
    """Read a settings file; None or an absent default file means all defaults.

    Raises:
        RecipeError: it cannot be read, or keys or values are wrong (all of them).
    """
    if path is None:
        return Settings()
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Settings.model_validate({} if tree is None else tree)
    except FileNotFoundError:
        return Settings()
    except ValidationError as exc:
        raise _refuse(path, "; ".join(map(_describe_fault, exc.errors()))) from exc
    except OSError as exc:
        raise _refuse(path, exc.strerror or type(exc).__name__) from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise _refuse(path, f"it is not YAML{_locate(exc)}") from exc


def _describe_fault(fault: ErrorDetails) -> str:
    """`jobs_at_onc: no such key, did you mean jobs_at_once?`."""
    *above, key = fault["loc"] or ("the file",)
    name = ".".join(map(str, (*above, key)))
    if fault["type"] != "extra_forbidden":
        return f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
    known = InboxSettings.model_fields if above else Settings.model_fields
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.3)
    return f"{name}: no such key" + (f", did you mean {near[0]}?" if near else "")


def _locate(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f": line {mark.line + 1}" if mark else ""


def _refuse(path: Path, why: str) -> RecipeError:
    return RecipeError(
        f"cannot use the settings in {path}",
        why=why,
        fix="see docs/reference/service.md for every key; an empty file means all defaults",
    )
