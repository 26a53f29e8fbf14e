"""`appliance jobs` and `tune` with a service: what they print, to a person and to a program.

The daemon is real; its queue was filled with a job in every state, and no job can start.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
import time

import pytest

from appliance.cli.drawing import describe_step
from appliance.cli.follow import _read_states, describe_waiting, read_rows
from appliance.cli.jobs import describe_doing
from appliance.events import Line, Note, StepDone
from appliance.jobs import JobRequest
from appliance.queue.states import Done, Failed
from appliance.queue.store import Store
from appliance.recipe import Recipe
from tests.conftest import ROOT
from tests.daemon.service import WAITING, Daemon, running, write_documents

RESULT = {
    "bundle": "/nowhere/bundle",
    "base_loss": 2.31,
    "exported_loss": 1.62,
    "method": "qlora",
    "base": "embedded",
    "precision": "int4-mixed",
    "gain_kept": 0.987,
}
WHY = "loss on held-out documents 2.3010 → 2.3110"
FIX = (
    "add documents of the same kind; --set evaluate.require_improvement=false packs it all the same"
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    fill(Daemon(folder))
    with running(folder, WAITING) as daemon:
        for job_id in (3, 5):
            daemon.wait_for(job_id, lambda row: row.get("waits_for", "").startswith("memory"))
        yield daemon


def fill(daemon):
    """Jobs 1 done, 2 failed, 3 waiting after a crash, 4 canceled, 5 waiting, 6 paused."""
    daemon.state.mkdir(mode=0o700)
    store = Store(daemon.state / "queue.sqlite3", clock=time.time)

    def submit(name, priority=0):
        run = str(daemon.state / "runs" / name)
        request = JobRequest(documents="/documents", base=None, recipe=Recipe(), run=run)
        body = {"kind": "tune", "request": request.model_dump_json(), "run": run, "owner": 0}
        job, _ = store.submit(key=name, **body, label=name, priority=priority)
        return job.id

    def start(name, events_from=0):
        return store.start(submit(name), events_from=events_from)

    job = start("company-docs")
    store.note_progress(job.id, job.token, "bundle")
    store.end(job.id, job.token, Done(result=json.dumps(RESULT)))
    events = daemon.state / "runs" / "contracts" / "events.jsonl"
    events.parent.mkdir(parents=True)
    old = {"kind": "Line", "at": time.time() - 60, "label": "Old", "text": "of an earlier job"}
    events.write_text(json.dumps(old) + "\n")
    job = start("contracts", events_from=events.stat().st_size)
    what = "the tuned model is not better than the base"
    store.end(job.id, job.token, Failed(what=what, why=WHY, fix=FIX, exit_code=9))
    job = start("minutes")
    store.note_progress(job.id, job.token, "tune step 40")
    store.crashed(job.id, job.token, "killed by signal 9")
    store.ask_stop(submit("handbook"), "cancel")
    submit("policies", priority=5)
    store.pause(submit("prices"), "the disk is full: 12.0 MiB are free", by_person=True)
    store.close()
    rows = [
        {"kind": "StageStarted", "at": time.time() + 1, "stage": "corpus"},
        {"kind": "StageFinished", "at": time.time() + 2, "stage": "corpus", "seconds": 1.0,
         "restored": False},
        {"kind": "Line", "at": time.time() + 3, "label": "Documents", "text": "2 of 3 files"},
        {"kind": "Line", "at": time.time() + 3, "label": "Next", "text": "appliance chat /state"},
        {"kind": "CheckpointSaved", "at": time.time() + 4, "step": 7},
        {"kind": "Failed", "at": time.time() + 5, "error": "GateError", "what": what, "why": WHY,
         "fix": FIX},
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    lines.insert(3, '{"kind": "StepDone", "at": 17')  # torn by a crash
    with events.open("a") as file:
        file.write("\n".join(lines) + "\n")


def run_on_terminal(daemon, columns, *arguments):
    """What a person sees on a terminal of so many columns, without its colours."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        environment = os.environ | {"APPLIANCE_SOCKET": str(daemon.socket)}
        environment.pop("COLUMNS", None)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "appliance", *map(str, arguments)],
            environment,
        )
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    output = b""
    while True:
        try:
            block = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        output += block
    os.close(terminal)
    os.waitpid(pid, 0)
    return re.sub(r"\x1b\[[\d;]*m", "", output.decode()).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "verb", [("list",), ("list", "--all"), ("show", 2), ("show", 3), ("inbox",)]
)
def test_rows_fit_the_terminal(daemon, columns, verb):
    lines = run_on_terminal(daemon, columns, "jobs", *verb)

    assert lines
    assert max(map(len, lines)) <= columns


def test_list_shows_what_is_not_done_the_newest_first(daemon):
    done = daemon.run("jobs", "list")

    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["job", "state", "submitted", "what"]
    assert [row[:2] for row in rows[1:]] == [["6", "paused"], ["5", "waiting"], ["3", "waiting"]]
    assert "prices · paused: the disk is full: 12.0 MiB are free" in done.stdout
    assert "policies · waits: memory: " in done.stdout


def test_list_of_all_shows_how_jobs_ended(daemon):
    done = daemon.run("jobs", "list", "--all")

    states = [line.split()[1] for line in done.stdout.splitlines()[1:]]
    assert states == ["paused", "waiting", "canceled", "waiting", "failed", "done"]
    assert "contracts · the tuned model is not better than the base" in done.stdout


def test_list_is_one_json_object_without_results(daemon):
    answer = json.loads(daemon.run("jobs", "list", "--all", "--json").stdout)

    assert [job["id"] for job in answer["jobs"]] == [6, 5, 4, 3, 2, 1]
    assert not any("result" in job for job in answer["jobs"])


@pytest.mark.parametrize(
    ("job_id", "words"),
    [
        (1, ("1 · done · company-docs", "loss 2.310 → 1.620 · qlora on embedded · int4-mixed",
             "appliance jobs fetch 1 ./bundle")),
        (2, ("2 · failed · contracts", f"why: {WHY}", f"fix: {FIX}",
             "when it is mended: appliance jobs retry 2")),
        (3, ("3 · waiting", "waits: memory: ", "1 · last saved: tune step 40 · since then 1 crash",
             "appliance jobs watch 3")),
        (4, ("4 · canceled", "appliance jobs resume 4")),
        (5, ("priority 5",)),
        (6, ("6 · paused", "paused: the disk is full", "appliance jobs resume 6")),
    ],
)  # fmt: skip
def test_job_is_shown_with_what_to_do_next(daemon, job_id, words):
    done = daemon.run("jobs", "show", job_id)

    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


def test_log_tells_this_job_alone_and_passes_over_torn_lines(daemon):
    done = daemon.run("jobs", "logs", 2)

    lines = [line[11:] for line in done.stdout.splitlines()]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", lines[0])
    assert lines[1:] == [
        "stage corpus done",
        "Documents: 2 of 3 files",
        "checkpoint at step 7",
        "failed: the tuned model is not better than the base",
    ]
    assert re.match(r"\d\d:\d\d:\d\d   stage", done.stdout.splitlines()[1])


def test_log_as_json_is_a_line_an_event(daemon):
    lines = daemon.run("jobs", "logs", 2, "--json").stdout.splitlines()

    assert [json.loads(line)["kind"] for line in lines][:2] == ["StageStarted", "StageFinished"]


def test_watch_of_a_failed_job_fails_as_the_job_did(daemon):
    done = daemon.run("jobs", "watch", 2)

    assert done.returncode == 9
    assert done.stdout == "Documents  2 of 3 files\n"
    assert done.stderr == (
        f"error: the tuned model is not better than the base\nwhy:   {WHY}\nfix:   {FIX}\n"
    )


def test_watch_of_a_canceled_job_says_how_to_go_on(daemon):
    done = daemon.run("jobs", "watch", 4)

    assert done.returncode == 130
    assert done.stderr == "job 4 was canceled\nfix:   go on with: appliance jobs resume 4\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", 99), 13, ("there is no job 99", "appliance jobs list")),
        (("show", "x"), 2, ("not a valid integer",)),
        (("cancel", 1), 13, ("job 1 cannot be canceled", "it is done", "appliance jobs show 1")),
        (("retry", 6), 13, ("job 6 cannot be retried", "appliance jobs resume 6")),
        (("resume", 2), 13, ("job 2 cannot be resumed", "appliance jobs retry 2")),
        (("fetch", 2, "new"), 13, ("job 2 has no bundle", "it is failed")),
        (("fetch", 1, "new"), 13, ("the bundle of job 1 is no longer there",)),
        (("fetch", 1, "."), 13, ("is there already",)),
    ],
)
def test_refusal_says_why_and_what_would_work(daemon, arguments, code, words):
    done = daemon.run("jobs", *arguments)

    assert done.returncode == code
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_missing_service_is_told_with_the_way_to_start_one(tmp_path):
    daemon = Daemon(tmp_path)

    done = daemon.run("jobs", "list")

    assert done.returncode == 13
    assert f"tried {daemon.socket}" in done.stderr
    assert "appliance service status" in done.stderr and "appliance daemon" in done.stderr


def test_order_that_contradicts_itself_is_refused(daemon, tmp_path):
    done = daemon.run("tune", tmp_path, "--detach", "--here")

    assert done.returncode == 4, "the folder is empty: that comes first"
    (tmp_path / "one.txt").write_text("text")
    done = daemon.run("tune", tmp_path, "--detach", "--here")
    assert (done.returncode, "--detach leaves the job to the service" in done.stderr) == (2, True)


def test_path_that_is_no_text_is_refused(daemon, tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "one.txt").write_text("text")

    done = daemon.run("tune", folder, "--detach")

    assert done.returncode == 2
    assert "the path of the folder is not text" in done.stderr


def test_detached_order_prints_the_job_and_the_way_back(daemon, tmp_path):
    documents = write_documents(tmp_path / "documents")

    first = daemon.run("tune", documents, "--detach", "--priority", 3)
    second = daemon.run("tune", documents, "--detach", "--json")

    job = json.loads(second.stdout)
    rows = first.stdout.splitlines()
    assert rows == [
        f"Job        {job['id']} · submitted · {daemon.socket}",
        f"Next       appliance jobs watch {job['id']}",
    ]
    assert (job["priority"], job["label"]) == (3, job["run"].rpartition("/")[2])
    assert f"{job['id']} · known already, " in second.stderr
    daemon.run("jobs", "cancel", job["id"])


def test_torn_and_foreign_lines_are_no_rows():
    lines = ["", "{", "[]", "7", '{"at": 1}', '{"kind": "Note"}', '{"kind": "Note", "at": 1}',
             '{"kind": "JobState"}', "\0\0\0"]  # fmt: skip

    assert [row["kind"] for row in read_rows(lines)] == ["Note", "JobState"]


def test_waiting_is_told_once_though_its_figures_change():
    def state(**about):
        return {"kind": "JobState", "state": "waiting"} | about

    rows = [
        state(waits_for="memory: 1.0 GiB free, 2.0 GiB needed"),
        state(waits_for="memory: 1.1 GiB free, 2.0 GiB needed"),
        state(state="running"),
        state(state="running", trouble="no sign of life for 61 s (stopped by a signal?)"),
        state(state="running", trouble="no sign of life for 62 s (stopped by a signal?)"),
        state(state="running"),
        state(waits_for="memory: 1.2 GiB free, 2.0 GiB needed"),
    ]

    notes = [event.text for event in _read_states(iter(rows)) if isinstance(event, Note)]

    assert notes == [
        "waits: memory: 1.0 GiB free, 2.0 GiB needed",
        "no sign of life for 61 s (stopped by a signal?)",
        "waits: memory: 1.2 GiB free, 2.0 GiB needed",
    ]


def test_end_of_an_attempt_and_its_advice_are_not_shown_as_those_of_the_job():
    rows = [
        {"kind": "Line", "at": 1, "label": "Tune", "text": "held-out loss"},
        {"kind": "Line", "at": 2, "label": "Next", "text": "appliance chat /state/run"},
        {"kind": "Failed", "at": 3, "error": "InterruptedRun", "what": "", "why": "", "fix": ""},
        {"kind": "OfANewerService", "at": 4},
    ]

    assert list(_read_states(iter(rows))) == [Line(label="Tune", text="held-out loss")]


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"state": "queued"}, "queued: starts when it is its turn"),
        ({"state": "stopping"}, "stopping at the next safe point"),
        ({"state": "running", "trouble": "no progress for 90 s"}, "no progress for 90 s"),
        ({"state": "running"}, ""),
        ({"state": "away"}, "the service went away; waiting for it to come back"),
    ],
)
def test_reason_for_standing_still(job, words):
    assert describe_waiting(job) == words


def test_running_job_is_described_by_its_stage():
    job = {"state": "running", "stage": "tune", "done": 12, "total": 40, "unit": "steps",
           "loss": 1.5, "seconds_left": 61.0}  # fmt: skip

    assert describe_doing(job) == "Tune · 12/40 steps · loss 1.500 · 61 s left"
    assert describe_doing({"state": "running", "stage": ""}) == "starts"
    assert describe_doing({"state": "done"}) == ""


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (80, " 61 %  step 410/672  loss 1.412  held-out 1.506  8,900 tok/s  21 min left"),
        (60, " 61 %  step 410/672  loss 1.412  held-out 1.506  21 min left"),
        (50, " 61 %  loss 1.412  held-out 1.506  21 min left"),
        (30, " 61 %  loss 1.412  21 min left"),
        (10, " 61 %  21 min left"),
    ],
)
def test_narrow_terminal_shows_what_matters_most(columns, words):
    step = StepDone(
        step=410, num_steps=672, loss=1.412, lr=0.1, tokens_per_second=8900.0, seconds_left=1260.0
    )

    assert describe_step(step, "held-out 1.506", columns) == words
