"""A folder of hostile files: every one gets a verdict, and nothing else happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.values import Document, FileVerdict
from tests.conftest import ROOT
from tests.documents.conftest import read_lines
from tests.documents.hostile.folder import GOOD, make_folder

_CALLS = "trace=socket,openat,open,creat,mkdir,mkdirat,rename,renameat,unlink"
_WRITE = re.compile(r'(?:openat|open|creat)\((?:AT_FDCWD, )?"([^"]*)".*O_(?:WRONLY|RDWR|CREAT)')


class Outcome:
    def __init__(self, root: Path, calls: list[str]) -> None:
        stage = root / "run" / "corpus"
        self.root = root
        self.calls = calls
        self.verdicts = {
            row["path"]: FileVerdict.model_validate(row)
            for row in read_lines(stage / "ledger.jsonl")
        }
        self.documents = [
            Document.model_validate(row) for row in read_lines(stage / "documents.jsonl")
        ]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The folder read once, in a process whose system calls are noted where strace is allowed."""
    root = tmp_path_factory.mktemp("hostile")
    make_folder(root / "docs")
    (root / "home").mkdir()
    command = [sys.executable, "-m", "tests.documents.hostile.run", root / "docs", root / "run"]
    log = root / "calls.log"
    trace = ["strace", "-f", "-q", "--seccomp-bpf", "-e", _CALLS, "-o", log]
    if (
        shutil.which("strace")
        and not subprocess.run([*trace, "true"], capture_output=True).returncode
    ):
        command = [*trace, *command]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(root / "home")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=root / "home"
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return Outcome(root, log.read_text(errors="replace").splitlines() if log.exists() else [])


def test_every_hostile_file_has_one_verdict_with_a_fix(outcome: Outcome):
    names = {verdict.archive or verdict.path for verdict in outcome.verdicts.values()}
    lie_here = list((outcome.root / "docs").iterdir())
    assert len(lie_here) >= 110
    # names with odd characters are spelled out in the ledger: there only the number is compared
    top = {name for name in names if "/" not in name}
    assert len(top) == len(lie_here) - 1  # the deep folder has a verdict of its own
    assert any(name.startswith("d/d/") for name in names)
    for verdict in outcome.verdicts.values():
        assert verdict.path.isprintable()
        assert verdict.verdict == "used" or (verdict.reason and verdict.fix), verdict.path


def test_good_files_among_them_are_used(outcome: Outcome):
    assert all(outcome.verdicts[name].verdict == "used" for name in GOOD)
    used = {verdict.path for verdict in outcome.verdicts.values() if verdict.verdict == "used"}
    kept = {document.source for document in outcome.documents}
    assert used == kept
    assert {"latin1.txt", "surrogate.json", "formula.csv", "new\\nline.md"} <= used
    assert outcome.verdicts["slip.zip/beside.md"].verdict != "skipped"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bomb.zip/zeros.txt", "more than its size"),
        ("bomb.docx", "more than its size"),
        ("liar.zip/a.txt", "damaged"),
        ("crowd.zip", "2,500 files"),
        ("overlap.zip", "more than its size"),
        ("slip.zip/../../slipped.md", "outside the archive"),
        ("absolute.zip//tmp/slipped.md", "outside the archive"),
        ("nested.zip/inner.zip", "inside an archive"),
        ("encrypted.zip/a.md", "password"),
        ("link.zip/passwd.md", "a link"),
        ("device.zip/null.md", "a link or a device"),
        ("lzma.zip/a.md", "packed in a way"),
        ("laughs.xml", "entities"),
        ("quadratic.xml", "entities"),
        ("external.xml", "entities"),
        ("locked.docx", "password"),
        ("passwd.md", "it is a link"),
        ("loop", "it is a link"),
        ("pipe.md", "device, pipe or socket"),
        ("socket.md", "device, pipe or socket"),
        ("sparse_gigabyte.txt", "1.0 GiB"),
        ("wide.json", ""),
        ("deep.json", "nested too deep"),
        ("one_row.csv", "cells"),
    ],
)
def test_verdict_says_what_is_wrong(outcome: Outcome, name: str, reason: str):
    assert reason in outcome.verdicts[name].reason


def test_nothing_of_the_machine_gets_into_the_text(outcome: Outcome):
    secrets = Path("/etc/passwd").read_text().splitlines()[0]
    assert not any(secrets in document.text for document in outcome.documents)
    text = "".join(document.text for document in outcome.documents)
    assert "\x1b" not in text and "\ue000" not in text and "hahahaha" not in text


def test_nothing_is_written_outside_the_run(outcome: Outcome):
    assert sorted(path.name for path in outcome.root.iterdir()) == sorted(
        ["docs", "home", "run", *(["calls.log"] if outcome.calls else [])]
    )
    assert list((outcome.root / "home").iterdir()) == []
    assert not list(outcome.root.rglob("*slipped*"))
    assert not list(outcome.root.rglob("owned"))
    if not outcome.calls:
        pytest.skip("needs strace(1), and the right to trace")
    written = {match[1] for line in outcome.calls if (match := _WRITE.search(line))}
    allowed = (str(outcome.root / "run"), "/dev/null", "/proc/self/", "/dev/shm/sem")
    assert not [
        path for path in written if not path.startswith(allowed) and "__pycache__" not in path
    ]


def test_no_internet_socket_is_made(outcome: Outcome):
    if not outcome.calls:
        pytest.skip("needs strace(1), and the right to trace")
    assert any("AF_UNIX" in line or "openat" in line for line in outcome.calls)
    assert not [line for line in outcome.calls if re.search(r"AF_INET6?\b", line)]


def test_what_is_written_is_closed_to_others(outcome: Outcome):
    cache = outcome.root / "run" / "converted.db"
    assert cache.stat().st_mode & 0o077 == 0
