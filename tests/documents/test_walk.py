from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.documents.walk import MAX_DEPTH, list_entries, scan_folder, show_name
from appliance.errors import DocumentsError


def test_scan_names_the_folder_that_is_missing(tmp_path: Path):
    with pytest.raises(DocumentsError, match="is not there") as caught:
        scan_folder(tmp_path / "nowhere")
    assert caught.value.why and caught.value.fix


def test_scan_refuses_a_single_file(tmp_path: Path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DocumentsError, match="is not a folder"):
        scan_folder(tmp_path / "a.txt")


def test_scan_refuses_an_empty_folder(tmp_path: Path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(DocumentsError, match="no documents"):
        scan_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_scan_refuses_a_folder_without_permission(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    with pytest.raises(DocumentsError, match="cannot be opened"):
        scan_folder(closed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_entries_list_an_inner_folder_without_permission(docs: Path):
    (docs / "closed").mkdir(mode=0o000)
    assert {e.name: e.kind for e in list_entries(docs)}["closed/"] == "closed"


def test_fingerprint_changes_with_content_and_stays_without(docs: Path):
    before = scan_folder(docs)
    assert scan_folder(docs) == before
    (docs / "good.md").write_text("# Good\n\nAnother text.\n")
    assert scan_folder(docs).fingerprint != before.fingerprint


def test_entries_follow_no_link_and_open_no_pipe(docs: Path):
    (docs / "loop").symlink_to(docs, target_is_directory=True)
    (docs / "outside.txt").symlink_to("/etc/hostname")
    os.mkfifo(docs / "pipe.txt")
    (docs / ".git").mkdir()
    (docs / ".git" / "config").write_text("x")
    kinds = {entry.name: entry.kind for entry in list_entries(docs)}
    assert kinds == {
        ".git/": "hidden",
        "good.md": "file",
        "loop": "link",
        "outside.txt": "link",
        "pipe.txt": "special",
    }


def test_entries_survive_a_name_that_is_not_utf8(docs: Path):
    Path(os.fsdecode(os.fsencode(docs) + b"/caf\xe9.txt")).write_text("text")
    names = [entry.name for entry in list_entries(docs)]
    assert names == ["caf\\xe9.txt", "good.md"]
    assert len("".join(names).encode("utf-8")) > 0


def test_entries_of_folders_deeper_than_a_function_may_call_itself(docs: Path):
    here = os.open(docs, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        kinds = {entry.name: entry.kind for entry in list_entries(docs)}
    finally:
        subprocess.run(["rm", "-r", docs / "d"], check=True)  # shutil calls itself
    assert kinds == {"good.md": "file", "d/" * (MAX_DEPTH + 1): "deep"}


def test_names_that_control_a_terminal_are_spelled_out():
    assert show_name("new\nline \x1b[31m \u202e ü.md") == "new\\nline \\x1b[31m \\u202e ü.md"
