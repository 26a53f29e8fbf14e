"""The child that questions are put to: `python -m appliance.hardware.answer QUESTION SECONDS JSON`.

It writes one JSON value on its standard output and ends; `ask.py` is the parent's side. Nothing
heavy is imported before the question is known.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any


def main(arguments: list[str]) -> None:
    """Answer one question.

    Args:
        arguments: the question, the seconds it may take, and its arguments as a JSON object.
    """
    question, seconds, body = arguments
    signal.alarm(math.ceil(float(seconds)) + 1)  # should the parent be gone by then
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    json.dump(QUESTIONS[question](**json.loads(body)), answer)
    answer.close()


def answer_gpus() -> dict[str, Any]:
    """What the driver says about the cards."""
    from appliance.hardware.nvml import ask_driver

    return asdict(ask_driver())


def answer_libraries(*, devices: bool) -> dict[str, Any]:
    """What ONNX Runtime can run on and, if wanted, what torch can compute on."""
    from appliance.hardware.libraries import list_providers, list_torch_devices

    seen = list_torch_devices() if devices else None
    return {"providers": list_providers(), "torch": asdict(seen) if seen else None}


def answer_rates(*, folder: str, threads: int, seconds: float) -> dict[str, Any]:
    """How fast this machine multiplies, copies and writes."""
    from appliance.hardware.benchmark import measure_machine

    return asdict(measure_machine(folder, threads, seconds))


QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "gpus": answer_gpus,
    "libraries": answer_libraries,
    "rates": answer_rates,
}

if __name__ == "__main__":
    main(sys.argv[1:])
