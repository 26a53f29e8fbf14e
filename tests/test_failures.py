"""What a person is told when a job cannot go on. Oracle: the messages as they are documented."""

import errno

import pytest

from appliance.errors import TrainingError
from appliance.failures import describe_failure


def raised(number, filename=None):
    return OSError(number, "as the system says it", filename)


@pytest.mark.parametrize(
    ("exc", "error", "what", "why", "fix"),
    [
        (TrainingError("a", why="b", fix="c"), "TrainingError", "a", "b", "c"),
        (raised(errno.ENOSPC), "DiskFullError", "the disk is full", "are free", "free some space"),
        (
            Exception("I/O error: No space left on device (os error 28)"),
            "DiskFullError", "the disk is full", "are free", "goes on from its last checkpoint",
        ),
        (
            raised(errno.EIO, "/runs/a/latest.safetensors"),
            "ResourceError", "cannot use latest.safetensors", "the disk fails", "disk errors",
        ),
        (
            Exception("Error while serializing: I/O error: Input/output error (os error 5)"),
            "ResourceError", "cannot use a file of the run", "the disk fails", "disk errors",
        ),
        (raised(errno.EROFS), "ResourceError", "cannot use", "is read-only", "mount it"),
        (raised(errno.EDQUOT), "ResourceError", "cannot use", "quota", "raise the quota"),
        (raised(errno.EACCES), "ResourceError", "cannot use", "Permission denied", "permissions"),
        (MemoryError(), "ResourceError", "out of memory", "more memory", "sequence_length"),
    ],
)  # fmt: skip
def test_failure_is_told_with_its_cause_and_a_way_on(exc, error, what, why, fix, tmp_path):
    failed = describe_failure(exc, tmp_path)

    assert failed.error == error
    assert what in failed.what
    assert why in failed.why
    assert fix in failed.fix
    assert not (tmp_path / "fault.txt").exists()


def test_fault_of_our_own_keeps_its_traceback_to_itself(tmp_path):
    failed = describe_failure(KeyError("a sentence of a document"), tmp_path)

    assert failed.error == "ApplianceError"
    assert "a sentence" not in f"{failed.what} {failed.why} {failed.fix}"
    assert "a sentence" in (tmp_path / "fault.txt").read_text()
