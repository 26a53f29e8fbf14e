"""The offline environment: what has to stand there before any library is imported.

Every entry point calls `go_offline()` first. Imports nothing that could look at the environment.
"""

from __future__ import annotations

import os

OFFLINE = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime >= 1.29 looks up a telemetry host on Linux
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",  # its threads fight with torch's, and warn after a fork
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # torch then numbers the GPUs as the probe does
}
"""Variables that keep the libraries from reaching for the network."""


def go_offline() -> None:
    """Set the offline environment for this process and the children it starts.

    What stood there before is overwritten: silence is a promise of the program, not a preference.

    Source: the telemetry of ONNX Runtime was measured (1.32: name look-ups within seconds of the
    first use; none with ORT_DISABLE_TELEMETRY=1), November 2026.
    """
    os.environ.update(OFFLINE)
