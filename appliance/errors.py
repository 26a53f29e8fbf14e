"""Every error that a person can meet, and the exit code of each.

    ApplianceError            1
    ├── UsageError            2   the command line is wrong
    ├── RecipeError           3   a recipe key or value is wrong
    ├── DocumentsError        4   the documents folder cannot be used
    ├── BaseModelError        5   the base model is missing, unsafe or not supported
    ├── ResourceError         6   not enough memory or disk, or no permission
    │   ├── NotFreeError          there is enough, but something else holds it now
    │   └── DiskFullError         no room for what a stage writes
    ├── TrainingError         7   training failed
    ├── ExportError           8   merging or exporting failed
    ├── GateError             9   a gate refused the result: no bundle is made
    ├── BundleError          10   a bundle is missing, damaged or not one of ours
    ├── BusyError            11   another process works on the same run
    ├── QueueError           12   the queue's database cannot be used
    ├── ServiceError         13   the service is not there, or refused
    └── InterruptedRun      130   stopped by the person; the same command goes on

A message says what happened, why with the numbers, and what to do, in that order.
"""

from __future__ import annotations

from typing import ClassVar


class ApplianceError(Exception):
    """An error with a way out.

    Args:
        what: what happened, one line in lower case without a full stop.
        why: the cause, with numbers.
        fix: what to do.
    """

    exit_code: ClassVar[int] = 1
    label: ClassVar[str] = "error: "

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        """Keep the three parts; `str()` gives them as the command line prints them."""
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        """The message, one part a line."""
        parts = ((self.label, self.what), ("why:   ", self.why), ("fix:   ", self.fix))
        return "\n".join(label + text for label, text in parts if text)


def find_error(name: str) -> type[ApplianceError]:
    """The class of this name; ApplianceError itself for an unknown one."""
    waiting = [ApplianceError]
    while waiting:
        kind = waiting.pop()
        if kind.__name__ == name:
            return kind
        waiting += kind.__subclasses__()
    return ApplianceError


class UsageError(ApplianceError):
    """The command line is wrong."""

    exit_code = 2


class RecipeError(ApplianceError):
    """A recipe key or value is wrong."""

    exit_code = 3


class DocumentsError(ApplianceError):
    """The documents folder cannot be used."""

    exit_code = 4


class BaseModelError(ApplianceError):
    """The base model is missing, unsafe or not supported."""

    exit_code = 5


class ResourceError(ApplianceError):
    """Not enough memory or disk, or no permission."""

    exit_code = 6


class NotFreeError(ResourceError):
    """There is enough memory, but something else holds it now; later may do."""


class DiskFullError(ResourceError):
    """No room for what a stage writes; the job goes on when there is."""


class TrainingError(ApplianceError):
    """Training failed."""

    exit_code = 7


class ExportError(ApplianceError):
    """Merging or exporting failed."""

    exit_code = 8


class GateError(ApplianceError):
    """A gate refused the result: no bundle is made."""

    exit_code = 9


class BundleError(ApplianceError):
    """A bundle is missing, damaged or not one of ours."""

    exit_code = 10


class BusyError(ApplianceError):
    """Another process works on the same run."""

    exit_code = 11


class QueueError(ApplianceError):
    """The queue's database cannot be used."""

    exit_code = 12


class ServiceError(ApplianceError):
    """The service is not there, or refused."""

    exit_code = 13


class InterruptedRun(ApplianceError):  # noqa: N818  (it is an outcome, not a fault)
    """Stopped by the person; the same command goes on."""

    exit_code = 130
    label = ""
