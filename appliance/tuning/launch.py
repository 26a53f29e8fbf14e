"""Starting the processes that train one model together, and waiting for them.

Each is `python -m appliance.tuning.rank`, on a GPU of its own or with a share of the cores. On one
machine they find each other through a file, so that nothing listens for strangers; over several
machines, torchrun starts them. All end together: when one fails, the others are killed, for they
would wait for it for ever.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel

from appliance.errors import InterruptedRun, ResourceError, TrainingError, find_error
from appliance.events import Failed, Note, decode_event
from appliance.files import write_text
from appliance.rundir import StageFolder
from appliance.tuning.hold import count_kills, note_kill
from appliance.tuning.ranks import find_ranks
from appliance.values import TrainPlan, TunedModel
from appliance.values.record import Value

ORDER, RESULT = "ranks.json", "ranks-result.json"
"""What the processes are told, and what the first of them answers, in the stage's folder."""

STOP = "stop"
"""The line that asks the first process to leave at the next step, and all others with it."""

PORT = 29_400
"""Where the processes of several machines find each other: torchrun's own choice."""

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Processes of one machine talk over its own loopback, and nowhere else."""


class RankOrder(Value):
    """What every process is told.

    Attributes:
        function: the stage's name in `rank.STAGES`.
        values: what the stage is called with, as JSON.
        stage: name of the stage; `folder` is where it works, `run` the run's.
        meeting: file through which the processes of one machine meet; "" under torchrun.
        first_gpu: number of the first process's GPU, the others' follow; None on a CPU.
    """

    function: str
    values: tuple[str, ...]
    stage: str
    folder: str
    run: str
    meeting: str = ""
    first_gpu: int | None = None


def needs_others(plan: TrainPlan) -> bool:
    """Whether a plan wants several processes, and this one is none of them."""
    return plan.num_processes * plan.num_nodes > 1 and find_ranks().size == 1


def train_together(
    function: str, plan: TrainPlan, *values: BaseModel, stage: StageFolder
) -> TunedModel:
    """Do a training stage in several processes.

    Args:
        function: the stage's name in `rank.STAGES`.
        plan: says how many; the stage's first value.
        values: the others.
        stage: of this process; gets the events of the first of them.

    Returns:
        As the stage.

    Raises:
        ApplianceError: as the stage; TrainingError where a process failed otherwise.
    """
    _check_sockets()
    shared = max(1, plan.threads // plan.num_processes)
    first_gpu = None if plan.device == "cpu" else int(plan.device.partition(":")[2])
    device = "cpu" if first_gpu is None else "cuda:0"  # each process sees its own alone
    plan = plan.model_copy(update={"threads": shared, "device": device})
    while True:
        kills = count_kills()
        with tempfile.TemporaryDirectory(prefix="appliance-ranks-") as meeting:
            order = RankOrder(
                function=function,
                values=tuple(value.model_dump_json() for value in (plan, *values)),
                stage=stage.name,
                folder=str(stage.folder),
                run=str(stage.run),
                meeting="" if plan.num_nodes > 1 else f"{meeting}/store",
                first_gpu=first_gpu,
            )
            write_text(stage.folder / ORDER, order.model_dump_json())
            code, failure = follow(_start(plan, stage), stage)
        if code == 0:
            result = (stage.folder / RESULT).read_text(encoding="utf-8")
            return TunedModel.model_validate_json(result)
        if failure is not None:
            raise find_error(failure.error)(failure.what, why=failure.why, fix=failure.fix)
        if count_kills() > kills:
            note_kill(stage.folder, kills)
            continue  # on the next rung of the memory ladder, or with the word that there is none
        raise TrainingError(
            "a training process failed",
            why=f"one of {plan.num_processes} ended with code {code}; fault-rank.txt in the run",
            fix="run the same command again, or --set tune.num_processes=1",
        )


def _check_sockets() -> None:
    """Refuse where processes cannot talk, such as in the trainer's unit."""
    try:
        socket.socket(socket.AF_INET).close()
    except OSError as exc:
        raise ResourceError(
            "several processes cannot train together here",
            why=f"they talk over the loopback, which is closed to this one ({exc.strerror})",
            fix="--set tune.num_processes=1, or let the unit have RestrictAddressFamilies=AF_INET",
        ) from exc


def _start(plan: TrainPlan, stage: StageFolder) -> list[subprocess.Popen[bytes]]:
    """The processes of this machine, or the torchrun that starts them."""
    order = str(stage.folder / ORDER)
    if plan.num_nodes > 1:
        command = _write_torchrun(plan, order)
        others = (
            " ".join(command)
            .replace("--node-rank=0", "--node-rank=N")
            .replace(sys.executable, "python")
        )
        stage.on_event(Note(text=f"start on each other machine (N from 1): {others}"))
        return [open_child(command, {})]
    command = [sys.executable, "-m", "appliance.tuning.rank", order]
    size = str(plan.num_processes)
    return [
        open_child(command, LOOPBACK | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size})
        for rank in map(str, range(plan.num_processes))
    ]


def _write_torchrun(plan: TrainPlan, order: str) -> list[str]:
    """The command that starts this machine's share of a training over several."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={plan.num_nodes}",
        f"--nproc-per-node={plan.num_processes}",
        "--node-rank=0",
        f"--master-addr={socket.gethostname()}",
        f"--master-port={PORT}",
        "-m",
        "appliance.tuning.rank",
        order,
    ]


def open_child(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process whose input and output are ours, with this on top of the environment."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=os.environ | environment,
    )


def follow(
    children: list[subprocess.Popen[bytes]], stage: StageFolder
) -> tuple[int, Failed | None]:
    """Pass events on, pass the wish to stop down, until all have ended.

    Returns:
        The code of the first that failed (nought if none did), and what it said.
    """
    code, failure, was_asked = 0, None, False
    rests: dict[int, bytes] = {}
    try:
        with selectors.DefaultSelector() as selector:
            for child in children:
                assert child.stdout is not None
                selector.register(child.stdout, selectors.EVENT_READ, child)
            while selector.get_map():
                if stage.should_stop() and not was_asked:
                    was_asked = True
                    _ask_stop(children[0])
                for key, _ in selector.select(timeout=0.2):
                    data = os.read(key.fd, 2**16)
                    *lines, rests[key.fd] = (rests.get(key.fd, b"") + data).split(b"\n")
                    for line in lines:
                        failure = _pass_on(line.decode(), stage) or failure
                    if data:
                        continue
                    selector.unregister(key.fileobj)
                    code = code or key.data.wait()
                    if code not in (0, InterruptedRun.exit_code):
                        return code, failure
    finally:
        _kill(children)
    return code, failure


def _pass_on(line: str, stage: StageFolder) -> Failed | None:
    with suppress(ValueError):  # torchrun says things of its own
        event = decode_event(line)
        if isinstance(event, Failed):
            return event
        stage.on_event(event)
    return None


def _ask_stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with suppress(OSError):
        child.stdin.write(f"{STOP}\n".encode())


def _kill(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
