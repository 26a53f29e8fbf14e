"""Thousands of random verbs on the real store and on paper: both must always agree."""

import random

import pytest

from appliance.queue.refusals import describe
from appliance.queue.states import Canceled, Done, Failed, Fenced, Queued, Running, WrongStateError
from appliance.queue.store import Store
from tests.queue.model import OutdatedError, PaperQueue, RefusedError

OUTCOMES = {"done": Done(result="{}"), "failed": Failed(what="no"), "canceled": Canceled()}


class Walk:
    """One random verb at a time, done to both."""

    def __init__(self, path, clock, seed):
        self.chance = random.Random(seed)
        self.path, self.clock = path, clock
        self.store = Store(path, clock=clock)
        self.paper = PaperQueue()
        self.done = dict.fromkeys(("ok", "refused", "fenced"), 0)

    def step(self):
        self.clock.now += self.chance.choice((0, 0.5, 3, 3, 20, -2, -90))
        verbs = [name for name in dir(self) if name.startswith("do_")]
        weights = [6 if name in ("do_start_next", "do_progress") else 2 for name in verbs]
        job_id = self.chance.randint(1, max(1, len(self.paper.jobs)))
        verb = self.chance.choices(verbs, weights)[0]
        if self.paper.jobs or verb == "do_submit":
            getattr(self, verb)(job_id)

    def both(self, on_store, on_paper):
        """Do it to both: the same answer, or the same refusal."""
        answers = []
        for do, errors in (
            (on_store, (WrongStateError, Fenced)),
            (on_paper, (RefusedError, OutdatedError)),
        ):
            try:
                answers.append(("ok", do()))
            except errors as exc:
                answers.append((("refused", "fenced")[errors.index(type(exc))], None))
        self.done[answers[1][0]] += 1
        return answers

    def same(self, on_store, on_paper):
        stored, paper = self.both(on_store, on_paper)
        assert stored[0] == paper[0]

    def pick_token(self, job_id):
        """Mostly the newest; sometimes an old one, or one that never was."""
        return self.paper.jobs[job_id]["token"] + self.chance.choice((0, 0, 0, 0, -1, 1))

    def do_submit(self, _):
        n = self.chance.randrange(4 * len(self.paper.jobs) + 8)
        run, priority = f"/r/{self.chance.randrange(40)}", self.chance.randint(-1, 2)
        key = f"k{n // 4}"
        job, is_new = self.store.submit(
            key=key, kind="tune", request="{}", run=run, owner=1, label="x", priority=priority
        )
        assert (job.id, is_new) == self.paper.submit(key, run, priority)

    def do_start_next(self, _):
        now = self.clock.now
        job, expected = self.store.next_ready(now), self.paper.next_ready(now)
        assert (job and job.id) == expected
        if job:
            self.do_start(job.id)

    def do_start(self, job_id):
        self.same(
            lambda: self.store.start(job_id, events_from=0),
            lambda: self.paper.start(job_id, self.clock.now),
        )

    def do_wait(self, job_id):
        words = self.chance.choice(("the gpu", "memory"))
        until = self.clock.now + self.chance.choice((0, 5, 50))
        self.same(
            lambda: self.store.wait(job_id, words, until),
            lambda: self.paper.wait(job_id, self.clock.now, words, until),
        )

    def do_progress(self, job_id):
        token = self.pick_token(job_id)
        marker = self.chance.choice(("", *(f"step {n}" for n in range(6))))
        stored, paper = self.both(
            lambda: self.store.note_progress(job_id, token, marker),
            lambda: self.paper.progress(job_id, self.clock.now, token, marker),
        )
        assert stored == paper

    def do_ask_stop(self, job_id):
        wish = self.chance.choice(("cancel", "drain"))
        self.same(
            lambda: self.store.ask_stop(job_id, wish),
            lambda: self.paper.ask_stop(job_id, self.clock.now, wish),
        )

    def do_end(self, job_id):
        token, name = self.pick_token(job_id), self.chance.choice(tuple(OUTCOMES))
        self.same(
            lambda: self.store.end(job_id, token, OUTCOMES[name]),
            lambda: self.paper.end(job_id, self.clock.now, token, name),
        )

    def do_crash(self, job_id):
        token = self.pick_token(job_id)
        self.same(
            lambda: self.store.crashed(job_id, token, "x"),
            lambda: self.paper.die(job_id, self.clock.now, token, "crashes", 3),
        )

    def do_interrupt(self, job_id):
        token = self.pick_token(job_id)
        self.same(
            lambda: self.store.interrupted(job_id, token, "x"),
            lambda: self.paper.die(job_id, self.clock.now, token, "interruptions", 10),
        )

    def do_put_back(self, job_id):
        token = self.pick_token(job_id)
        self.same(
            lambda: self.store.put_back(job_id, token),
            lambda: self.paper.put_back(job_id, self.clock.now, token),
        )

    def do_pause(self, job_id):
        token = self.chance.choice((None, self.pick_token(job_id)))
        self.same(
            lambda: self.store.pause(job_id, "why", token=token),
            lambda: self.paper.pause(job_id, self.clock.now, token),
        )

    def do_resume(self, job_id):
        self.same(
            lambda: self.store.resume(job_id),
            lambda: self.paper.requeue(job_id, self.clock.now, "paused", "canceled"),
        )

    def do_retry(self, job_id):
        self.same(
            lambda: self.store.retry(job_id),
            lambda: self.paper.requeue(job_id, self.clock.now, "failed", "canceled"),
        )

    def do_reopen(self, _):
        if self.chance.random() < 0.1:
            self.store.close()
            self.store = Store(self.path, clock=self.clock)

    def do_checkpoint(self, _):
        self.store.checkpoint_wal()

    def compare(self):
        stored = {job.id: summarize(job) for job in self.store.list_jobs(limit=None)}
        assert stored == {n: summarize_paper(job) for n, job in self.paper.jobs.items()}


def summarize(job):
    waits_for = job.state.waits_for if isinstance(job.state, Queued) else ""
    stop = job.state.stop if isinstance(job.state, Running) else None
    counts = job.token, job.attempts, job.crashes, job.interruptions
    state = {"waiting": "queued"}.get(describe(job), describe(job).split()[0])
    return state, waits_for, job.waits_until, stop, job.progress, counts


def summarize_paper(job):
    counts = job["token"], job["attempts"], job["crashes"], job["interruptions"]
    progress = job["reached"][-1] if job["reached"] else ""
    return job["state"], job["waits_for"], job["until"], job["stop"], progress, counts


@pytest.mark.parametrize("seed", [1, 2])
def test_store_agrees_with_paper_after_every_verb(path, clock, seed):
    walk = Walk(path, clock, seed)

    for n in range(1500):
        walk.step()
        if n % 10 == 0:
            walk.compare()

    walk.compare()
    assert all(walk.done[kind] > 50 for kind in walk.done), walk.done  # the walk went everywhere
    tokens = {}
    for event in walk.store.events(limit=100_000):
        assert event.token - tokens.get(event.job, 0) == (event.kind == "started")
        tokens[event.job] = event.token
    walk.store.close()
