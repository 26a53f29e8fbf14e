"""One of several processes that train one model: `python -m appliance.tuning.rank ORDER`.

It does the stage as a single process would, but for its share of every step. The first one saves
and speaks; the wish to stop reaches it alone, and all leave at the same step. They are started by
`launch.py`, which ends them by closing their input, or by torchrun.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import typing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from appliance.errors import ApplianceError, InterruptedRun
from appliance.events import Event, Failed, encode_event, ignore_event
from appliance.files import write_text
from appliance.offline import go_offline
from appliance.rundir import StageFolder, close_to_others
from appliance.tuning.launch import RESULT, STOP, RankOrder
from appliance.values import TunedModel

PATIENCE = timedelta(minutes=30)
"""Longest wait for another process: the slowest thing that one does alone is to save."""


def main(path: Path) -> int:
    """Do the stage of an order, and return the exit code."""
    order = RankOrder.model_validate_json(path.read_text(encoding="utf-8"))
    go_offline()
    close_to_others()
    _take_gpu(order)
    send = _take_stdout()
    stop = threading.Event()
    is_first = os.environ["RANK"] == "0"
    if is_first or order.meeting:  # under torchrun, all of a machine share one input
        threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    try:
        _join(order.meeting)
        tuned = _do(order, send if is_first else ignore_event, stop)
        if is_first:
            write_text(Path(order.folder) / RESULT, tuned.model_dump_json())
    except ApplianceError as exc:
        send(Failed(error=type(exc).__name__, what=exc.what, why=exc.why, fix=exc.fix))
        return exc.exit_code
    except Exception as exc:
        fault = "".join(traceback.format_exception(exc))
        (Path(order.run) / "fault-rank.txt").write_text(fault)
        return 1
    return 0


def _take_gpu(order: RankOrder) -> None:
    """See this process's GPU alone; before torch looks for any."""
    if order.first_gpu is None:
        return
    number = order.first_gpu + int(os.environ["LOCAL_RANK"])
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    os.environ["CUDA_VISIBLE_DEVICES"] = seen[number] if seen else str(number)


def _join(meeting: str) -> None:
    """Meet the others: through a file on one machine, through torchrun's address over several."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if not meeting:
        dist.init_process_group(backend, timeout=PATIENCE)
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = FileStore(meeting, size)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)


def _do(order: RankOrder, on_event: Callable[[Event], None], stop: threading.Event) -> TunedModel:
    from appliance.tuning.pretrain import pretrain
    from appliance.tuning.ranks import find_ranks
    from appliance.tuning.trial import tune_briefly
    from appliance.tuning.tune import tune

    stages: dict[str, Callable[..., TunedModel]] = {
        "tune": tune,
        "pretrain": pretrain,
        "tune_briefly": tune_briefly,
    }
    function, ranks = stages[order.function], find_ranks()
    kinds = [kind for name, kind in typing.get_type_hints(function).items() if name != "return"]
    values = [
        kind.model_validate_json(text) for kind, text in zip(kinds, order.values, strict=False)
    ]
    stage = StageFolder(
        name=order.stage,
        folder=Path(order.folder),
        run=Path(order.run),
        on_event=on_event,
        should_stop=lambda: ranks.agree(stop.is_set()),
    )
    return function(*values, stage)


def _listen(stop: threading.Event) -> None:
    """Heed the launcher: a line asks for an early end; when its end closes, so do we."""
    for line in sys.stdin:
        if line.strip() == STOP:
            stop.set()
    os._exit(InterruptedRun.exit_code)


def _take_stdout() -> Callable[[Event], None]:
    """Keep the real stdout for events; what a library prints goes nowhere."""
    events_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def send(event: Event) -> None:
        events_out.write(encode_event(event) + "\n")
        events_out.flush()

    return send


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
