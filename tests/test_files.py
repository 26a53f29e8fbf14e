"""What killed writers left behind goes away; what live ones are writing stays."""

import os
import subprocess
import sys

import pytest

from appliance.files import publish_folder, replace_file, write_text


def find_dead_pid():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_temporary_files_of_killed_writers_are_removed(tmp_path):
    dead = tmp_path / f".a.json.{find_dead_pid()}.partial"
    journal = tmp_path / f".a.json.{find_dead_pid()}.partial-journal"
    others = [
        tmp_path / f".a.json.{os.getppid()}.partial",
        tmp_path / f".b.json.{find_dead_pid()}.partial",
        tmp_path / ".a.json.notes.partial",
    ]
    for path in (dead, journal, *others):
        path.write_text("half")

    write_text(tmp_path / "a.json", "whole")

    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.json"])


def test_file_that_could_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), replace_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError("mine")

    assert list(tmp_path.iterdir()) == []


def test_old_folder_that_cannot_be_removed_is_told_by_its_own_cause(tmp_path):
    """Not as "directory not empty" of the rename that would come next."""
    (tmp_path / "new").mkdir()
    (tmp_path / "old").write_text("a file in the place of the folder")

    with pytest.raises(NotADirectoryError):
        publish_folder(tmp_path / "new", tmp_path / "old")
