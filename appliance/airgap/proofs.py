"""Three proofs that the program keeps to itself, done on this machine with a real job.

1. It works without a network: in a namespace that has none.
2. It does not try: its system calls are watched, where there is a network to try.
3. It could not: the service manager's filter, as the units have it, stops a packet.

The watched job runs with an empty home and without the variables that libraries take as a sign to
be silent (`CI`): ONNX Runtime hides its telemetry where CI is set. Afterwards the model stays
loaded for a minute, for uploaders wake up late.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.offline import OFFLINE

IDLE_SECONDS = 60
"""Model loaded and nothing to do."""

JOB_SECONDS = 1800
"""A job that takes longer has not passed."""

NUM_DOCUMENTS = 40
"""Of half a page each: enough for a test split."""

_TRACE = ("strace", "-f", "-q", "-e", "trace=socket,connect,sendto,sendmsg,sendmmsg", "-o")
_INTERNET = re.compile(r"AF_INET6?\b")
_LOOPBACK = re.compile(r'"127\.[\d.]+"|"::1"')
_HIDING = ("CI", "ORT_RUNNING_UNIT_TESTS", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
_OWN_FOLDERS = ("appliance", ".cache/appliance", ".config/appliance", ".local/share/appliance")

_JOB = (
    "--base", "embedded", "--here", "--json",
    "--set", "documents.near_duplicates=keep", "--set", "documents.boilerplate=keep",
    "--set", "tune.epochs=1", "--set", "tune.lr=0.003", "--set", "tune.sequence_length=512",
    "--set", "evaluate.num_questions=2", "--set", "evaluate.answer_tokens=4",
    "--set", "evaluate.require_improvement=false", "--set", "export.parity_tokens=1000",
    "--set", "export.min_gain_kept=0",
)  # fmt: skip
"""A short job that leaves out no stage; what it learns does not matter."""

_IDLE = """\
import sys, time
from appliance.offline import go_offline
go_offline()
import onnxruntime_genai
model = onnxruntime_genai.Model(sys.argv[1])
time.sleep(float(sys.argv[2]))
"""

_PACKET = """\
import errno, socket, sys
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))
except OSError as exc:
    sys.exit(0 if exc.errno == errno.EPERM else 3)
sys.exit(4)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What one proof showed.

    Attributes:
        name: of the proof.
        passed: None where this machine cannot do it.
        measured: what was seen.
        wanted: what had to be seen.
    """

    name: str
    passed: bool | None
    measured: str
    wanted: str


def prove_airgap(idle_seconds: float = IDLE_SECONDS) -> tuple[Proof, ...]:
    """Do the three proofs; minutes.

    Args:
        idle_seconds: with the model loaded, while system calls are watched.

    Source: research on ONNX Runtime 1.32, which looks up a telemetry host within seconds of its
        first use unless ORT_DISABLE_TELEMETRY is set, November 2026.
    """
    proofs: tuple[Callable[[Path], Proof], ...] = (
        prove_function,
        lambda folder: prove_silence(folder, idle_seconds),
        lambda folder: prove_filter(),
    )
    found = []
    for proof in proofs:
        with tempfile.TemporaryDirectory(prefix="appliance-airgap-") as name:
            found.append(proof(Path(name)))
    return tuple(found)


def prove_function(folder: Path) -> Proof:
    """The whole job in a namespace without a network.

    Args:
        folder: empty; for what the job makes.
    """
    name, wanted = "works without a network", "a job from documents to an answer succeeds"
    if (why := _find_missing(["unshare", "--net", "true"])) is not None:
        return Proof(name=name, passed=None, measured=why, wanted=wanted)
    job = _run_job(folder, ["unshare", "--net"])
    if job.returncode:
        return Proof(name=name, passed=False, measured=_last_line(job.stderr), wanted=wanted)
    answer = _run(folder, ["unshare", "--net"], ["chat", _find_bundle(job), "-m", "Hello"])
    passed = answer.returncode == 0
    measured = "it did, and answered" if passed else _last_line(answer.stderr)
    return Proof(name=name, passed=passed, measured=measured, wanted=wanted)


def prove_silence(folder: Path, idle_seconds: float) -> Proof:
    """The same job with its system calls watched, and a minute of idling.

    Args:
        folder: empty; for what the job makes.
        idle_seconds: with the model loaded.
    """
    name = "tries no connection"
    wanted = "no call that names an internet address, and no file outside its own folders"
    log = folder / "calls"
    if (why := _find_missing([*_TRACE, str(folder / "try"), "true"])) is not None:
        return Proof(name=name, passed=None, measured=why, wanted=wanted)
    job = _run_job(folder, [*_TRACE, str(log)])
    if job.returncode:
        return Proof(name=name, passed=False, measured=_last_line(job.stderr), wanted=wanted)
    bundle = _find_bundle(job)
    idle = [*_TRACE, str(folder / "idle"), sys.executable, "-c", _IDLE, bundle, str(idle_seconds)]
    waited = _execute(idle, _make_environment(folder))
    if waited.returncode:
        return Proof(name=name, passed=False, measured=_last_line(waited.stderr), wanted=wanted)
    calls = [call for path in (log, folder / "idle") for call in list_calls(path)]
    strays = list_strays(folder / "home")
    measured = f"{len(calls)} calls, {len(strays)} files outside its own folders"
    details = "; ".join([*calls[:1], *strays[:1]])
    return Proof(
        name=name,
        passed=not calls and not strays,
        measured=f"{measured}{': ' + details if details else ''}; "
        f"{idle_seconds:g} s idle with the model loaded",
        wanted=wanted,
    )


def prove_filter() -> Proof:
    """A packet from a unit with the filter that the service's units have."""
    name, wanted = "is held back by the system", "a packet is refused (EPERM)"
    filters = ("IPAddressDeny=any", "IPAddressAllow=localhost")
    command = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe"]
    if (why := _find_missing([*command, "true"])) is not None:
        return Proof(name=name, passed=None, measured=why, wanted=wanted)
    options = [part for each in filters for part in ("--property", each)]
    done = _execute([*command, *options, sys.executable, "-c", _PACKET], dict(os.environ))
    words = {0: "it was refused", 4: "IT WAS SENT"}
    measured = words.get(done.returncode, f"the trial ended with {done.returncode}")
    return Proof(name=name, passed=done.returncode == 0, measured=measured, wanted=wanted)


def list_calls(log: Path) -> list[str]:
    """System calls of a log of strace that name an address beyond this machine."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return [
            line.strip()[:200]
            for line in lines
            if _INTERNET.search(line) and not _LOOPBACK.search(line)
        ]


def list_strays(home: Path) -> list[str]:
    """Files in a home that was empty, outside of the program's own folders."""
    files = (path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    own = tuple(f"{folder}/" for folder in _OWN_FOLDERS)
    return sorted(name for name in files if not name.startswith(own))


def _run_job(folder: Path, prefix: list[str]) -> subprocess.CompletedProcess[str]:
    documents = folder / "documents"
    documents.mkdir()
    for number in range(NUM_DOCUMENTS):
        rows = "".join(
            f"## Box {box}\n\nBox {box} of shelf {number} holds part {number * box + 7} in bag "
            f"{box + number}. Who takes {box} of them writes {number + 2 * box} on the list.\n\n"
            for box in range(1, 7)
        )
        (documents / f"{number}.md").write_text(f"# Shelf {number}\n\n{rows}")
    job = ["tune", str(documents), "--runs", str(folder / "runs"), *_JOB]
    return _run(folder, prefix, job)


def _run(folder: Path, prefix: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "appliance", *arguments]
    return _execute(command, _make_environment(folder))


def _execute(
    command: list[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=JOB_SECONDS,
        )
    except subprocess.TimeoutExpired:
        text = f"it took more than {JOB_SECONDS} s"
        return subprocess.CompletedProcess(command, 124, stdout="", stderr=text)


def _make_environment(folder: Path) -> dict[str, str]:
    """An empty home, nothing that makes libraries silent, and nothing that we set ourselves."""
    left_out = {*_HIDING, *(name.upper() for name in _HIDING), *OFFLINE}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    places = {
        name: value
        for name, value in kept.items()
        if not name.startswith(("XDG_", "HF_")) and name not in ("APPLIANCE_HOME",)
    }
    return places | {"HOME": str(home), "APPLIANCE_SOCKET": "", "APPLIANCE_KEYS": str(home / "no")}


def _find_bundle(job: subprocess.CompletedProcess[str]) -> str:
    bundle: str = json.loads(job.stdout)["bundle"]
    return bundle


def _find_missing(command: list[str]) -> str | None:
    """Why this machine cannot do a proof; None when it can."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not on this machine"
    done = _execute(command, dict(os.environ))
    if done.returncode == 0:
        return None
    return f"{command[0]} is not allowed here: {_last_line(done.stderr)}"


def _last_line(text: str) -> str:
    """What a program said it failed with; else the last that it said."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it failed without a word"])[-1][:200]
