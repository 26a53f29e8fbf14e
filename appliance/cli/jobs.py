"""`appliance jobs`: see and steer the jobs of the service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from appliance.daemon.client import require_client

EXAMPLE = """
\b
Example:
  appliance jobs list
  appliance jobs watch 12
  appliance jobs cancel 12
"""

DAY_SECONDS = 24 * 3600.0
"""After so long, a date says more than an age."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, nothing else."
)


@click.group(epilog=EXAMPLE)
def jobs() -> None:
    """See and steer the jobs of the service."""


@jobs.command("list")
@click.option("--all", "with_ended", is_flag=True, help="Ended jobs too.")
@click.option("--limit", default=50, show_default=True, help="At most so many.")
@json_option
def list_jobs(with_ended: bool, limit: int, as_json: bool) -> None:
    """List the jobs that are not done, the newest first."""
    from appliance.cli.output import print_json, print_row, print_table

    answer = require_client().ask("GET", "/v1/jobs", limit=limit, live=int(not with_ended))
    if as_json:
        print_json(answer)
        return
    if not answer["jobs"]:
        ended = "" if with_ended else "; ended ones: appliance jobs list --all"
        print_row("Jobs", f"none; start one with: appliance tune ./company_docs{ended}")
        return
    rows = [
        (
            str(job["id"]),
            job["state"],
            _format_age(job["submitted_at"]),
            " · ".join(part for part in (job["label"], describe_doing(job)) if part),
        )
        for job in answer["jobs"]
    ]
    print_table(("job", "state", "submitted", "what"), rows)


@jobs.command()
@click.argument("job", type=int)
@json_option
def show(job: int, as_json: bool) -> None:
    """Show one job: where it is, what it waits for, how it ended."""
    from appliance.cli.output import print_json, print_row

    found = require_client().ask("GET", f"/v1/jobs/{job}")
    if as_json:
        print_json(found)
        return
    print_row("Job", f"{found['id']} · {found['state']} · {found['label']}")
    if "error" not in found and (doing := describe_doing(found)):
        print_row("Now", doing)
    priority = f" · priority {found['priority']}" if found["priority"] else ""
    print_row("Submitted", _format_age(found["submitted_at"]) + priority)
    print_row("Attempts", _describe_attempts(found))
    print_row("Run", found["run"])
    if "result" in found:
        print_row("Result", _describe_result(found["result"]))
    if "error" in found:
        error = found["error"]
        print_row("Failed", error["what"], f"why: {error['why']}", f"fix: {error['fix']}")
    print_row("Next", NEXT[found["state"]].format(job=job))


NEXT = {
    "queued": "appliance jobs watch {job}",
    "waiting": "appliance jobs watch {job}",
    "running": "appliance jobs watch {job}",
    "stopping": "appliance jobs watch {job}",
    "paused": "appliance jobs resume {job}",
    "done": "appliance jobs fetch {job} ./bundle",
    "failed": "when it is mended: appliance jobs retry {job}",
    "canceled": "appliance jobs resume {job}",
}
"""What a person most likely wants of a job in a state."""


def _describe_attempts(job: dict[str, Any]) -> str:
    """`3 · last saved: tune step 40 · since then 1 crash`."""
    parts = [str(job["attempts"])]
    if job["progress"] and job["state"] != "done":
        parts.append(f"last saved: {job['progress']}")
    for number, one, many in (
        (job["crashes"], "crash", "crashes"),
        (job["interruptions"], "interruption", "interruptions"),
    ):
        if number:
            parts.append(f"since then {number} {one if number == 1 else many}")
    return " · ".join(parts)


def _describe_result(result: dict[str, Any]) -> str:
    if "recommendation" in result:
        return f"{result['recommendation']}: {result['reasons'][0]}"
    return (
        f"loss {result['base_loss']:.3f} → {result['exported_loss']:.3f} · "
        f"{result['method']} on {result['base']} · {result['precision']} · "
        f"keeps {100 * result['gain_kept']:.1f} % of the gain"
    )


@jobs.command()
@click.argument("job", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON lines.")
def logs(job: int, as_json: bool) -> None:
    """Print what a job told so far, over all its attempts."""
    from appliance.cli.follow import read_rows
    from appliance.cli.output import print_row

    day = ""
    for row in read_rows(require_client().read_events(job)):
        if as_json:
            click.echo(json.dumps(row, ensure_ascii=False))
        elif text := _describe_event(row):
            moment = time.localtime(row["at"])
            if (today := time.strftime("%Y-%m-%d", moment)) != day:
                day = today
                print_row("", day)
            print_row(time.strftime("%H:%M:%S", moment), text)


@jobs.command()
@click.argument("job", type=int)
@json_option
def watch(job: int, as_json: bool) -> None:
    """Follow a job until it ends; Ctrl-C leaves it running."""
    from appliance.cli.follow import follow_job
    from appliance.cli.output import print_json, print_row

    ended = follow_job(require_client(), job, as_json=as_json)
    if as_json:
        print_json(ended)
    else:
        print_row("Next", f"appliance jobs fetch {job} ./bundle")


@jobs.command()
@click.argument("job", type=int)
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def fetch(job: int, folder: Path, as_json: bool) -> None:
    """Copy the bundle of a job that is done to FOLDER, which must not exist yet."""
    from appliance.cli.output import print_json, print_row
    from appliance.units import format_bytes

    num_bytes = require_client().fetch_bundle(job, folder.absolute())
    if as_json:
        print_json({"job": job, "bundle": str(folder.absolute()), "num_bytes": num_bytes})
        return
    print_row("Bundle", f"{folder} · {format_bytes(num_bytes)}")
    print_row("Next", f'appliance chat {folder} -m "a question about your documents"')


@jobs.command()
@json_option
def inbox(as_json: bool) -> None:
    """Show the watch folder: which folders became jobs, and which cannot be used."""
    from appliance.cli.output import print_json, print_row, print_table

    answer = require_client().ask("GET", "/v1/inbox")
    if as_json:
        print_json(answer)
        return
    print_row("Inbox", answer["inbox"])
    rows = [(row["name"], _describe_drop(row)) for row in answer["folders"]]
    if rows:
        print_table(("folder", "what"), rows)
    else:
        print_row("", "drop a folder of documents into it: it becomes a job")


def _describe_drop(row: dict[str, Any]) -> str:
    if row["fault"]:
        return f"cannot be used: {row['fault']}"
    return f"job {row['job']}" if row["job"] else "waits until it stops changing"


def _add_steering(verb: str, text: str, following: str) -> None:
    """Add a verb that changes the state of a job."""

    def steer(job: int, as_json: bool) -> None:
        from appliance.cli.output import print_json, print_row

        found = require_client().ask("POST", f"/v1/jobs/{job}/{verb}")
        if as_json:
            print_json(found)
            return
        print_row("Job", f"{found['id']} · {found['state']}")
        print_row("Next", following.format(job=job))

    steer.__doc__ = text
    command: Callable[..., Any] = click.argument("job", type=int)(json_option(steer))
    jobs.command(verb)(command)


_add_steering(
    "cancel",
    "Stop a job at the next safe point; what it did is kept.",
    "appliance jobs resume {job}",
)
_add_steering(
    "resume",
    "Let a canceled or paused job go on where it was.",
    "appliance jobs watch {job}",
)
_add_steering(
    "retry",
    "Try a failed job again, from its last finished stage or checkpoint.",
    "appliance jobs watch {job}",
)


def describe_doing(job: dict[str, Any]) -> str:
    """What a job does or waits for, in a line; empty when nothing is to be said."""
    from appliance.cli.drawing import STAGES
    from appliance.cli.follow import describe_waiting
    from appliance.units import format_seconds

    if "error" in job:
        return str(job["error"]["what"])
    text = describe_waiting(job)
    if text or job["state"] != "running":
        return text
    parts = [STAGES.get(job.get("stage", ""), job.get("stage") or "starts")]
    if job.get("total"):
        parts.append(f"{job['done']}/{job['total']} {job['unit']}")
    if job.get("loss") is not None:
        parts.append(f"loss {job['loss']:.3f}")
    if job.get("seconds_left") is not None:
        parts.append(f"{format_seconds(job['seconds_left'])} left")
    return " · ".join(parts)


def _describe_event(row: dict[str, Any]) -> str:
    """An event as one line of a log; empty for those that only move a bar."""
    kind = row["kind"]
    if kind == "Line" and row["label"] != "Next":  # a path in the state folder
        return f"{row['label']}: {row['text']}"
    if kind == "Note":
        return str(row["text"])
    if kind == "StageFinished" and not row["restored"]:
        return f"stage {row['stage']} done"
    if kind == "CheckpointSaved":
        return f"checkpoint at step {row['step']}"
    if kind == "Failed":
        return f"failed: {row['what']}"
    return "done" if kind == "Finished" else ""


def _format_age(moment: float) -> str:
    from appliance.units import format_seconds

    seconds = max(0.0, time.time() - moment)
    if seconds > DAY_SECONDS:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    return f"{format_seconds(seconds)} ago"
