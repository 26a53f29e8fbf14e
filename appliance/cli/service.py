"""`appliance service`: what the service on this machine is doing, and what to do about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from appliance.errors import ServiceError

if TYPE_CHECKING:
    from appliance.daemon.status import Person, Standing
    from appliance.daemon.troubles import Trouble

EXAMPLE = """
\b
Example:
  appliance service status
  appliance service status --json | jq .troubles
"""


@click.group(epilog=EXAMPLE)
def service() -> None:
    """Explain the state of the service on this machine."""


@service.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
def status(as_json: bool) -> int:
    """Say whether the service is well, what it does, and how to mend what is not well.

    Looks at the systemd units and at the control socket; a daemon started by hand is found too.
    The exit code is 13 when the service cannot do its work.
    """
    from appliance.daemon.status import look_at_service
    from appliance.daemon.troubles import find_troubles, is_healthy

    standing = look_at_service()
    troubles = find_troubles(standing)
    if as_json:
        from appliance.cli.output import print_json

        print_json(_collect(standing, troubles))
    else:
        _show(standing, troubles)
    return 0 if is_healthy(troubles) else ServiceError.exit_code


def _collect(standing: Standing, troubles: tuple[Trouble, ...]) -> dict[str, Any]:
    from dataclasses import asdict

    from appliance.daemon.troubles import is_healthy

    door = standing.door
    return {
        "is_healthy": is_healthy(troubles),
        "socket": str(door.path) if door else None,
        "daemon": door.answer if door else None,
        "units": None if standing.units is None else [asdict(unit) for unit in standing.units],
        "sockets": [{"path": str(d.path), "silence": d.silence} for d in standing.doors],
        "person": asdict(standing.person),
        "troubles": [asdict(trouble) for trouble in troubles],
    }


def _show(standing: Standing, troubles: tuple[Trouble, ...]) -> None:
    from appliance.cli.output import print_row
    from appliance.daemon.troubles import is_healthy

    door = standing.door
    health = "well" if is_healthy(troubles) else "not well"
    if door is not None and door.answer is not None:
        answer = door.answer
        print_row("Service", f"{health} · {_describe_daemon(answer)}")
        _show_jobs(answer)
        print_row("Socket", f"{door.path} · {_describe_person(standing.person)}")
        _show_state(answer)
    else:
        print_row("Service", f"{health} · no daemon answers")
    _show_units(standing)
    for trouble in troubles:
        label = "Trouble" if trouble.is_grave else "Note"
        print_row(label, trouble.what, f"why: {trouble.why}", f"fix: {trouble.fix}")


def _describe_daemon(answer: dict[str, Any]) -> str:
    from appliance.units import format_seconds

    up = format_seconds(max(0.0, time.time() - answer.get("started_at", time.time())))
    draining = (
        " · leaves when its jobs have saved a checkpoint" if answer.get("is_draining") else ""
    )
    return f"version {answer.get('version')} · pid {answer.get('pid')} · up {up}{draining}"


def _describe_person(person: Person) -> str:
    if person.is_root:
        return f"you are {person.name}: all jobs"
    if person.is_admin:
        return f"{person.name} is an administrator: all jobs"
    return f"{person.name} may use it: own jobs"


def _show_jobs(answer: dict[str, Any]) -> None:
    from appliance.cli.output import print_row
    from appliance.units import format_bytes, format_seconds

    counts = [f"{number} {state}" for state, number in answer.get("jobs", {}).items() if number]
    print_row("Jobs", " · ".join(counts) or "none")
    for row in answer.get("running", []):
        parts = [f"job {row['id']}: {row['stage'] or 'starts'}"]
        if row["total"]:
            parts.append(f"{row['done']}/{row['total']}")
        if row["seconds_left"] is not None:
            parts.append(f"{format_seconds(row['seconds_left'])} left")
        if row["resident_bytes"]:
            parts.append(format_bytes(row["resident_bytes"]))
        print_row("Running", " · ".join(parts))
    for job_id, text in answer.get("waits", {}).items():
        print_row("Waiting", f"job {job_id}: for {text}")


def _show_state(answer: dict[str, Any]) -> None:
    from appliance.cli.output import print_row
    from appliance.units import format_bytes

    free = format_bytes(answer.get("disk_free_bytes", 0))
    print_row("State", f"{answer.get('state_folder')} · {free} free on its disk")


def _show_units(standing: Standing) -> None:
    from appliance.cli.output import print_row, print_table
    from appliance.daemon.status import DAEMON

    if standing.units is None:
        print_row("Units", "systemd does not tell about them here")
        return
    daemon = standing.find_unit(DAEMON)
    if daemon is None:
        print_row("Units", "not installed")
        return
    rows = [
        (
            unit.name,
            f"{unit.active} ({unit.sub})",
            "yes" if unit.enabled else "no",
            str(unit.restarts) if unit.name == DAEMON else "",
        )
        for unit in standing.units
    ]
    print_table(("unit", "state", "at boot", "restarts"), rows)
    print_row("Watchdog", f"restarts a daemon that hangs for {daemon.watchdog}")
