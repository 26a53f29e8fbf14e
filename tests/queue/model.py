"""The queue as a person would write it down on paper: the oracle of the random walk.

Dictionaries in memory, the rules of the design in the plainest words, and nothing of the product.
"""

from __future__ import annotations


class RefusedError(Exception):
    """The state does not allow it."""


class OutdatedError(Exception):
    """Another attempt, or none, works on the job."""


class PaperQueue:
    def __init__(self):
        self.jobs = {}
        self.keys = {}

    def submit(self, key, run, priority):
        if key in self.keys:
            return self.keys[key], False
        live = [n for n, job in self.jobs.items() if job["run"] == run and is_live(job)]
        job_id = live[0] if live else len(self.jobs) + 1
        if not live:
            self.jobs[job_id] = {
                "run": run, "priority": priority, "state": "queued", "waits_for": "", "until": 0.0,
                "written": 0.0, "stop": None, "token": 0, "attempts": 0, "crashes": 0,
                "interruptions": 0, "reached": [], "reason": None,
            }  # fmt: skip
        self.keys[key] = job_id
        return job_id, not live

    def next_ready(self, now):
        ready = [
            (-job["priority"], job_id)
            for job_id, job in self.jobs.items()
            if job["state"] == "queued" and (job["until"] <= now or now < job["written"])
        ]
        return min(ready)[1] if ready else None

    def start(self, job_id, now):
        job = self._take(job_id, "queued")
        job["token"] += 1
        job["attempts"] += 1
        self._become(job, "running", now)

    def wait(self, job_id, now, words, until):
        job = self._take(job_id, "queued")
        if (job["waits_for"], job["until"]) != (words, until):
            job.update(waits_for=words, until=until, written=now)

    def progress(self, job_id, now, token, marker):
        job = self._attempt(job_id, token)
        if marker and marker not in job["reached"]:
            job["reached"].append(marker)
            job["crashes"] = job["interruptions"] = 0
        return job["stop"]

    def ask_stop(self, job_id, now, wish):
        job = self.jobs[job_id]
        if job["state"] == "running":
            if job["stop"] != "cancel":
                job["stop"] = wish
        elif wish == "cancel" and job["state"] in ("queued", "paused"):
            self._become(job, "canceled", now)
        elif not (wish == "cancel" and job["state"] == "canceled"):
            raise RefusedError

    def end(self, job_id, now, token, outcome):
        self._become(self._attempt(job_id, token), outcome, now)

    def die(self, job_id, now, token, what, most):
        """`what` is "crashes" or "interruptions"; the `most`-th without progress is the last."""
        job = self._attempt(job_id, token)
        if job["stop"] == "cancel":
            return self._become(job, "canceled", now)
        job[what] += 1
        if job[what] == most:
            return self._become(job, "failed", now)
        pause = 2 ** job["crashes"] if what == "crashes" else None
        self._become(job, "queued", now)
        if pause:
            job.update(until=now + pause, waits_for="a pause after it crashed (x)")

    def put_back(self, job_id, now, token):
        job = self._attempt(job_id, token)
        self._become(job, "canceled" if job["stop"] == "cancel" else "queued", now)

    def pause(self, job_id, now, token):
        job = self._take(job_id, "queued") if token is None else self._attempt(job_id, token)
        self._become(job, "canceled" if job["stop"] == "cancel" else "paused", now)

    def requeue(self, job_id, now, *allowed):
        job = self._take(job_id, *allowed)
        if any(
            other is not job and other["run"] == job["run"] and is_live(other)
            for other in self.jobs.values()
        ):
            raise RefusedError
        job.update(attempts=0, crashes=0, interruptions=0)
        self._become(job, "queued", now)

    def _take(self, job_id, *states):
        job = self.jobs[job_id]
        if job["state"] not in states:
            raise RefusedError
        return job

    def _attempt(self, job_id, token):
        job = self.jobs[job_id]
        if job["state"] != "running" or job["token"] != token:
            raise OutdatedError
        return job

    def _become(self, job, state, now):
        job.update(state=state, stop=None, waits_for="", until=0.0, written=now)


def is_live(job):
    return job["state"] in ("queued", "running", "paused")
