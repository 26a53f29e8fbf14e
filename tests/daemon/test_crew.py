"""What is learnt from a worker's events, and that no worker is ever lost. Oracle: the events."""

import threading

import pytest

from appliance.daemon.crew import Attempt, Crew, learn
from appliance.daemon.machine import Place
from appliance.events import (
    Alive,
    CheckpointSaved,
    Failed,
    Finished,
    HeldOut,
    Line,
    Progress,
    StageFinished,
    StageStarted,
    StepDone,
    encode_event,
)
from appliance.jobs import JobRequest, WorkOrder
from appliance.recipe import Recipe

ORDER = WorkOrder(
    request=JobRequest(documents="/documents", base=None, recipe=Recipe(), run="/run"), cores=(1,)
)
STEP = StepDone(step=3, num_steps=9, loss=2.5, lr=0.1, tokens_per_second=700.0, seconds_left=6.0)
ALIVE = Alive(pid=1, cpu_seconds=1.0, resident_bytes=5)


def make_attempt(**about):
    place = Place()
    return Attempt(job_id=1, token=1, place=place, started=0.0, alive=0.0, moved=0.0, **about)


def test_stage_starts_with_a_clean_bar():
    attempt = learn(make_attempt(done=5, total=9, unit="files"), StageStarted(stage="tune"), 7.0)

    assert (attempt.stage, attempt.done, attempt.total, attempt.unit) == ("tune", 0, 0, "")
    assert (attempt.alive, attempt.moved) == (7.0, 7.0)


def test_progress_and_steps_move_the_bar():
    progress = Progress(stage="corpus", done=2, total=4, unit="files")
    attempt = learn(learn(make_attempt(), progress, 1.0), STEP, 2.0)

    assert (attempt.done, attempt.total, attempt.unit) == (3, 9, "steps")
    assert (attempt.loss, attempt.tokens_per_second, attempt.seconds_left) == (2.5, 700.0, 6.0)
    assert learn(attempt, HeldOut(step=3, loss=2.6, is_best=True), 3.0).held_out == 2.6


def test_only_work_that_was_done_now_is_a_marker():
    stage = learn(make_attempt(), StageStarted(stage="tune"), 1.0)

    restored = learn(stage, StageFinished(stage="corpus", seconds=1.0, restored=True), 2.0)
    finished = learn(stage, StageFinished(stage="corpus", seconds=1.0, restored=False), 2.0)
    saved = learn(stage, CheckpointSaved(step=12), 2.0)

    assert (restored.marker, finished.marker, saved.marker) == ("", "corpus", "tune step 12")


def test_sign_of_life_is_no_movement_unless_processor_time_was_used():
    still = learn(make_attempt(cpu_seconds=0.98), ALIVE, 5.0)
    busy = learn(make_attempt(cpu_seconds=0.5), ALIVE, 5.0)

    assert (still.alive, still.moved) == (5.0, 0.0)
    assert (busy.alive, busy.moved) == (5.0, 5.0)
    assert busy.resident_bytes == 5


@pytest.mark.parametrize(
    "ending", [Finished(result="{}"), Failed(error="GateError", what="", why="", fix="")]
)
def test_last_word_is_kept(ending):
    assert learn(make_attempt(), ending, 1.0).ending is ending


def test_line_for_people_changes_only_the_times():
    assert learn(make_attempt(), Line(label="a", text="b"), 0.0) == make_attempt()


class Child:
    """A worker whose lines a test writes."""

    def __init__(self, lines):
        self.lines, self.pids, self.may_end = lines, [], threading.Event()

    def read_lines(self):
        for line in self.lines:
            if isinstance(line, Exception):
                raise line
            yield line

    def know_pid(self, pid):
        self.pids.append(pid)

    def ask_stop(self):
        pass

    def kill(self):
        pass

    def wait(self):
        return "exit code 0"


def watch(child):
    """A crew with one worker, when that worker has ended."""
    ended = threading.Event()

    def wake():
        attempt = crew.find_attempt(1)
        if attempt is not None and attempt.end:
            ended.set()

    crew = Crew(lambda order: child, wake, clock=lambda: 1.0)
    crew.start(1, 1, ORDER)
    assert ended.wait(10), "its end was not seen"
    return crew


def test_crew_reads_what_a_worker_tells_until_it_ends():
    child = Child([encode_event(ALIVE) + "\n", encode_event(STEP) + "\n"])

    crew = watch(child)

    attempt = crew.find_attempt(1)
    assert (attempt.loss, attempt.place.cores, attempt.end) == (2.5, (1,), "exit code 0")
    assert child.pids == [1]
    crew.dismiss(1)
    assert crew.list_attempts() == ()


@pytest.mark.parametrize(
    "line",
    [
        "not JSON\n",
        "[]\n",
        '{"kind": "Unknown"}\n',
        '{"kind": "StepDone"}\n',
        '{"kind": "Alive", "pid": 1, "cpu_seconds": "x", "resident_bytes": 1}\n',
        '{"kind": "Alive", "pid": "x", "cpu_seconds": 1, "resident_bytes": 1}\n',
        "[" * 100_000 + "\n",
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ValueError("I/O operation on closed file"),
    ],
    ids=lambda line: str(line)[:20],
)
def test_no_word_of_a_worker_hides_its_end(line):
    crew = watch(Child([line, encode_event(STEP) + "\n"]))

    assert crew.find_attempt(1).end
