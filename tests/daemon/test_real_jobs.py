"""Real jobs in a real daemon, with everything that can happen to them on the way.

Oracle: the weights of the same job done by `appliance tune --here` without a break.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.daemon.base import make_base
from tests.daemon.service import (
    COMMAND,
    QUICK,
    acting_as,
    is_state,
    running,
    write_documents,
)
from tests.e2e.conftest import run_appliance

pytestmark = pytest.mark.slow

SETTINGS = "silent_seconds: 7\nhang_seconds: 9\ncancel_seconds: 60\ninbox: {settle_seconds: 1}\n"
"""A worker gives a sign of life every five seconds."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return write_documents(tmp_path_factory.mktemp("documents") / "company")


@pytest.fixture(scope="module")
def order(base):
    """Options of the command line for a quick job."""
    return ["--base", base, *(part for setting in QUICK for part in ("--set", setting))]


@pytest.fixture(scope="module")
def expected(tmp_path_factory, documents, order):
    """sha256 of the weights of an uninterrupted run, without any service."""
    runs = tmp_path_factory.mktemp("runs")
    done = run_appliance("tune", documents, "--here", "--runs", runs, "--json", *order)
    assert done.returncode == 0, done.stderr
    return hash_weights(json.loads(done.stdout)["run"])


@pytest.fixture
def daemon(tmp_path):
    with running(tmp_path, SETTINGS) as daemon:
        yield daemon


def hash_weights(run):
    (path,) = (Path(run) / "tune" / "weights").glob("*.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_step(number):
    return lambda row: row["kind"] == "StepDone" and row["step"] >= number


def is_checkpoint(row):
    return row["kind"] == "CheckpointSaved"


def start(daemon, documents, base):
    """A job that has saved a checkpoint; its id, and the pid of its worker."""
    job_id = daemon.submit(documents, *QUICK, base=str(base))["id"]
    daemon.wait_for(job_id, is_checkpoint)
    (pid,) = daemon.list_workers()
    return job_id, pid


def finish(daemon, job_id):
    """Wait until a job is done; the job."""
    daemon.wait_for(job_id, is_state("done"))
    return daemon.show(job_id)


@contextlib.contextmanager
def command(daemon, *arguments):
    """A command of a person who watches it."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"APPLIANCE_SOCKET": str(daemon.socket)},
    )
    done = threading.Event()

    def lift():
        while not done.wait(0.2):
            with contextlib.suppress(OSError):
                daemon.lift_workers()

    thread = threading.Thread(target=lift)
    thread.start()
    try:
        yield process
    finally:
        done.set()
        thread.join()
        process.kill()
        process.communicate()


def test_person_orders_detaches_comes_back_and_fetches(daemon, documents, order, expected):
    with command(daemon, "tune", documents, *order) as tune:
        assert tune.stdout.readline().startswith("Job        1 · submitted")
        assert tune.stdout.readline().startswith("Hardware")
        tune.send_signal(signal.SIGINT)
        _, errors = tune.communicate(timeout=60)
    assert tune.returncode == 130
    assert "detached: job 1 goes on in the service" in errors
    assert "come back with: appliance jobs watch 1" in errors
    assert "Traceback" not in errors

    again = daemon.run("tune", documents, "--detach", "--json", *order)
    assert json.loads(again.stdout)["id"] == 1, "the same command is the same job"
    with command(daemon, "jobs", "watch", 1) as watch:
        out, errors = watch.communicate(timeout=300)
    assert watch.returncode == 0, errors
    rows = [line.split()[0] for line in out.splitlines()]
    assert rows[-2:] == ["Bundle", "Next"]

    job = daemon.show(1)
    assert (job["state"], job["attempts"]) == ("done", 1)
    assert hash_weights(job["run"]) == expected
    assert daemon.run("jobs", "fetch", 1, daemon.folder / "bundle").returncode == 0
    verified = daemon.run("verify", daemon.folder / "bundle")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    twice = daemon.run("jobs", "fetch", 1, daemon.folder / "bundle")
    assert (twice.returncode, "is there already" in twice.stderr) == (13, True)


def test_canceled_job_goes_on_where_it_was(daemon, documents, base, expected):
    job_id, _ = start(daemon, documents, base)

    assert daemon.run("jobs", "cancel", job_id).returncode == 0
    with contextlib.suppress(AssertionError):
        daemon.wait_for(job_id, is_state("canceled"))
    assert daemon.list_workers() == []
    progress = daemon.show(job_id)["progress"]
    assert progress.startswith("tune step ")
    assert daemon.run("jobs", "resume", job_id).returncode == 0
    first = daemon.wait_for(job_id, lambda row: row["kind"] == "StepDone")
    job = finish(daemon, job_id)

    assert first["step"] > 1
    assert hash_weights(job["run"]) == expected


def test_failed_job_is_tried_again(daemon, documents, base, tmp_path, expected):
    moved = tmp_path / "elsewhere"
    copy = tmp_path / "documents"
    shutil.copytree(documents, copy)
    job_id = daemon.submit(copy, *QUICK, base=str(base))["id"]
    copy.rename(moved)

    with command(daemon, "jobs", "watch", job_id) as watch:
        _, errors = watch.communicate(timeout=300)
    assert watch.returncode == 4
    assert f"folder {copy} is not there" in errors
    moved.rename(copy)
    assert daemon.run("jobs", "retry", job_id).returncode == 0

    assert hash_weights(finish(daemon, job_id)["run"]) == expected


def test_job_goes_on_after_kill_of_its_worker(daemon, documents, base, expected):
    job_id, pid = start(daemon, documents, base)

    os.kill(pid, signal.SIGKILL)
    waiting = daemon.wait_for(job_id, is_state("waiting"))
    job = finish(daemon, job_id)

    assert "killed by signal 9" in waiting["waits_for"]
    assert job["attempts"] == 2
    assert hash_weights(job["run"]) == expected
    told = daemon.run("jobs", "logs", job_id).stdout
    assert told.count("stage corpus done") == 1, "it was not done again"


def test_job_goes_on_after_kill_of_the_daemon_and_whoever_watches_stays(
    daemon, documents, order, expected
):
    with command(daemon, "tune", documents, "--json", *order) as tune:
        while not (jobs := list_jobs(daemon)):
            threading.Event().wait(0.1)
        daemon.wait_for(jobs[0]["id"], is_checkpoint)
        (worker,) = daemon.list_workers()
        daemon.kill()
        wait_for_death(worker)
        daemon.start()
        out, errors = tune.communicate(timeout=300)

    assert tune.returncode == 0, errors
    assert "the service went away; waiting for it to come back" in errors
    job = daemon.show(1)
    assert hash_weights(job["run"]) == expected
    assert json.loads(out)["run"] == job["run"]


def list_jobs(daemon):
    return daemon.client.ask("GET", "/v1/jobs")["jobs"]


def wait_for_death(pid):
    """A worker dies with its daemon."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        import select

        assert select.select([descriptor], [], [], 30)[0], "the worker lives on"
        os.close(descriptor)


def test_daemon_that_is_asked_to_leave_saves_a_checkpoint_first(daemon, documents, base, expected):
    job_id, _ = start(daemon, documents, base)

    assert daemon.stop() == 0
    before = read_rows(daemon, job_id)
    last_step = max(row["step"] for row in before if row["kind"] == "StepDone")
    saved = max(row["step"] for row in before if row["kind"] == "CheckpointSaved")
    daemon.start()
    first = daemon.wait_for(job_id, lambda row: row["kind"] == "StepDone")
    job = finish(daemon, job_id)

    assert saved == last_step, "not a step was lost"
    assert first["step"] == saved + 1
    assert (job["crashes"], job["interruptions"]) == (0, 0)
    assert hash_weights(job["run"]) == expected


def read_rows(daemon, job_id):
    (path,) = (daemon.state / "runs").glob("*/events.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_stopped_worker_is_reported_then_killed_and_its_job_goes_on(
    daemon, documents, base, expected
):
    job_id, pid = start(daemon, documents, base)

    os.kill(pid, signal.SIGSTOP)
    trouble = daemon.wait_for(job_id, lambda row: row.get("trouble"))["trouble"]
    shown = daemon.run("jobs", "show", job_id).stdout
    waiting = daemon.wait_for(job_id, is_state("waiting"))
    job = finish(daemon, job_id)

    assert trouble.startswith("no sign of life for")
    assert "no sign of life for" in shown or "a pause after it crashed" in shown
    assert "no sign of life for" in waiting["waits_for"]
    assert hash_weights(job["run"]) == expected
    assert f"job {job_id}: killed: no sign of life" in daemon.log.read_text()


def test_job_that_crashes_again_and_again_fails_with_a_way_on(daemon, documents, base):
    job_id = daemon.submit(documents, *QUICK, base=str(base))["id"]
    for attempt in (1, 2, 3):
        daemon.wait_for(job_id, is_state("running"))
        while daemon.show(job_id)["attempts"] < attempt or not daemon.list_workers():
            threading.Event().wait(0.05)
        os.kill(daemon.list_workers()[0], signal.SIGKILL)
        if attempt < 3:
            daemon.wait_for(job_id, is_state("waiting"))

    watch = daemon.run("jobs", "watch", job_id)

    assert watch.returncode == 1
    assert "error: crashed 3 times before its first step" in watch.stderr
    assert "why:   the last time: killed by signal 9" in watch.stderr
    assert f"appliance jobs retry {job_id}" in watch.stderr


def test_folder_dropped_into_the_inbox_becomes_a_model(daemon, documents, base):
    drop = daemon.state / "inbox" / "company"
    shutil.copytree(documents, daemon.state / "inbox" / ".arriving")
    sections: dict[str, list[str]] = {}
    for setting in QUICK:
        section, rest = setting.split(".", 1)
        sections.setdefault(section, []).append("  " + rest.replace("=", ": "))
    text = "".join(f"{name}:\n" + "\n".join(lines) + "\n" for name, lines in sections.items())
    (daemon.state / "inbox" / ".arriving" / "appliance.yaml").write_text(text)
    (daemon.state / "inbox" / ".arriving").rename(drop)

    while not (jobs := list_jobs(daemon)):
        threading.Event().wait(0.2)
    daemon.wait_for(jobs[0]["id"], lambda row: row.get("stage") == "tune")

    assert drop.name in jobs[0]["label"]
    listed = daemon.run("jobs", "inbox").stdout
    assert f"company  job {jobs[0]['id']}" in listed
    daemon.run("jobs", "cancel", jobs[0]["id"])


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")
def test_another_user_hands_documents_over_and_takes_the_bundle(documents, base, expected):
    folder = Path(tempfile.mkdtemp(prefix="appliance-user-"))
    try:
        folder.chmod(0o711)
        theirs = folder / "theirs"
        shutil.copytree(documents, theirs)
        shared = folder / "shared"
        shutil.copytree(base, shared / "small")
        for path in (theirs, *theirs.iterdir()):
            os.chown(path, 65_534, 65_534)
        with running(folder, f"users_group: nogroup\ndocument_roots: [{shared}]\n") as daemon:
            with acting_as(65_534):
                from appliance.daemon.client import HandOverNeeded

                about = {"base": str(shared / "small"), "key": "1"}
                with pytest.raises(HandOverNeeded):
                    daemon.submit(theirs, *QUICK, **about)
                assert daemon.client.hand_over(theirs) == (10, 0)
                job_id = daemon.submit(theirs, *QUICK, **about, is_handed_over=True)["id"]
            job = finish(daemon, job_id)
            with acting_as(65_534):
                target = Path(tempfile.mkdtemp(prefix="appliance-fetch-")) / "bundle"
                daemon.client.fetch_bundle(job_id, target)
            verified = daemon.run("verify", target)
            shutil.rmtree(target.parent)
        assert verified.returncode == 0, verified.stderr
        assert job["owner"] == 65_534
        assert hash_weights(job["run"]) == expected
    finally:
        shutil.rmtree(folder)
