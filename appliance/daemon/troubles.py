"""What is wrong with a service, from what `status.py` saw; each trouble with its way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance import __version__
from appliance.daemon.paths import SYSTEM_SOCKET
from appliance.daemon.settings import Settings
from appliance.daemon.status import CONTROL, DAEMON, PARSER, TRAINER, Door, Standing, Unit

JOURNAL = f"journalctl -u {DAEMON} -n 50"

RESULTS = {
    "start-limit-hit": "it ended too often in a short time, and systemd gave up",
    "exit-code": "it ended with exit code {status}",
    "signal": "it was killed by signal {status}",
    "core-dump": "it crashed with signal {status}",
    "watchdog": "it gave no sign of life for {watchdog} and was killed",
    "oom-kill": "the machine ran out of memory, and the kernel killed it",
    "timeout": "it did not start or stop in time and was killed",
    "resources": "systemd could not give it what its unit asks for",
    "service-start-limit-hit": "the service behind it ended too often in a short time",
}
"""What systemd's results mean. Source: systemd.exec(5), systemd.service(5), systemd.socket(5)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Something to mend: what, why, how. A grave one keeps the service from its work."""

    what: str
    why: str
    fix: str
    is_grave: bool = True


def find_troubles(standing: Standing) -> tuple[Trouble, ...]:
    """Everything that should be mended, the gravest first."""
    troubles = [*_judge_units(standing), *_judge_doors(standing), *_judge_answer(standing)]
    return tuple(sorted(troubles, key=lambda trouble: not trouble.is_grave))


def is_healthy(troubles: tuple[Trouble, ...]) -> bool:
    """Whether the service can do its work."""
    return not any(trouble.is_grave for trouble in troubles)


def _judge_units(standing: Standing) -> Iterator[Trouble]:
    daemon = standing.find_unit(DAEMON)
    if daemon is None:
        return  # a daemon by hand, or none: the sockets tell
    if daemon.active == "failed":
        yield Trouble(
            what="the daemon has failed",
            why=explain_result(daemon),
            fix=f"{JOURNAL} tells more; mend it, then: "
            f"systemctl reset-failed {DAEMON} {CONTROL}; systemctl start {CONTROL} {DAEMON}",
        )
    elif daemon.active == "inactive":
        yield Trouble(
            what="the daemon does not run",
            why="it was stopped, and nobody has called it since",
            fix=f"systemctl start {CONTROL} {DAEMON}",
        )
    elif daemon.restarts:
        yield Trouble(
            what=f"the daemon was started again {_count(daemon.restarts, 'time')}",
            why="it ended without being asked to; jobs went on from their last checkpoint",
            fix=f"{JOURNAL} tells why",
            is_grave=False,
        )
    if not daemon.enabled:
        yield Trouble(
            what="the service does not start at boot",
            why=f"{DAEMON} is not enabled",
            fix=f"systemctl enable {DAEMON} {CONTROL} {TRAINER} {PARSER}",
            is_grave=False,
        )
    for name, purpose in ((TRAINER, "no job can start"), (PARSER, "no document can be read")):
        unit = standing.find_unit(name)
        if unit is None or unit.active != "active":
            why = explain_result(unit) if unit and unit.active == "failed" else purpose
            yield Trouble(
                what=f"{name} does not listen",
                why=why,
                fix=f"systemctl start {name}" if unit else "scripts/install",
            )


def explain_result(unit: Unit) -> str:
    """Why a unit ended, in words."""
    text = RESULTS.get(unit.result, f"systemd says {unit.result}")
    return text.format(status=unit.exit_status, watchdog=unit.watchdog)


def _judge_doors(standing: Standing) -> Iterator[Trouble]:
    if standing.door is not None:
        return
    closed = [door for door in standing.doors if door.silence == "closed"]
    hanging = [door for door in standing.doors if door.silence == "hangs"]
    foreign = [door for door in standing.doors if door.silence == "foreign"]
    if closed:
        yield _explain_closed(closed[0], standing)
    elif hanging:
        yield Trouble(
            what="the daemon does not answer",
            why=f"it took the call on {hanging[0].path} and said nothing",
            fix="its watchdog starts it again soon; at once: systemctl restart " + DAEMON,
        )
    elif foreign:
        yield Trouble(
            what="something else answers in the daemon's place",
            why=f"what came from {foreign[0].path} is not of this program",
            fix="point APPLIANCE_SOCKET at the daemon's own socket, or leave it out",
        )
    elif standing.find_unit(DAEMON) is None:
        yield Trouble(
            what="no service runs here",
            why="nobody listens on " + ", ".join(str(door.path) for door in standing.doors),
            fix="sudo scripts/install for the whole machine, or for yourself: appliance daemon",
        )
    else:
        yield Trouble(
            what="the control socket is not there",
            why=f"nobody listens on {SYSTEM_SOCKET}",
            fix=f"systemctl start {CONTROL} {DAEMON}",
        )


def _explain_closed(door: Door, standing: Standing) -> Trouble:
    person, group = standing.person, Settings().users_group
    if person.will_be_user and not person.is_user:
        return Trouble(
            what="you may not use the service yet",
            why=f"{person.name} joined the group {group} after this log-in",
            fix=f"log in again, or in this terminal: newgrp {group}",
        )
    return Trouble(
        what="you may not use the service",
        why=door.refusal or f"{person.name} is not a member of the group {group}",
        fix=f"ask an administrator: usermod --append --groups {group} {person.name}",
    )


def _judge_answer(standing: Standing) -> Iterator[Trouble]:
    door = standing.door
    if door is None or door.answer is None:
        return
    answer = door.answer  # of another version perhaps: nothing in it is certain
    if answer.get("trouble"):
        yield Trouble(
            what="the queue is in trouble",
            why=answer["trouble"],
            fix="free disk space or mend the disk; the daemon tries again by itself",
        )
    for job_id, text in answer.get("troubles", {}).items():
        yield Trouble(
            what=f"job {job_id} does not move",
            why=text,
            fix=f"it is started again by itself after a while; or: appliance jobs cancel {job_id}",
            is_grave=False,
        )
    if num_faults := answer.get("num_inbox_faults", 0):
        yield Trouble(
            what=f"{_count(num_faults, 'folder')} in the inbox cannot be used",
            why="appliance jobs inbox tells which, and why",
            fix="mend the folder: it is looked at again when it has changed",
            is_grave=False,
        )
    if (version := answer.get("version")) != __version__:
        yield Trouble(
            what=f"the daemon is version {version}, this command {__version__}",
            why="one of them was updated without the other",
            fix="run scripts/install of the newer one",
            is_grave=False,
        )
    if door.path == SYSTEM_SOCKET and answer.get("trainers") != "units":
        yield Trouble(
            what="trainers run as plain processes of the daemon",
            why=f"{TRAINER} did not listen when the daemon started: no cage, no low priority",
            fix=f"systemctl start {TRAINER}; systemctl restart {DAEMON}",
            is_grave=False,
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
