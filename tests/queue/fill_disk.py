"""Submit to a queue on a tiny disk until it is full, make room, go on; tell what happened as JSON.

Runs in a mount namespace of its own: python -m tests.queue.fill_disk MOUNTPOINT
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from appliance.errors import DiskFullError
from appliance.queue.store import Store
from tests.queue.conftest import submit


def main(folder: Path) -> None:
    """Mount 256 KiB, of which a ballast takes 96 KiB until the disk was full once."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(96 * 1024))
    path = folder / "queue.sqlite3"
    store = Store(path, clock=time.time)
    acknowledged, message = submit_until_full(store, "first")
    present = [job.label for job in store.list_jobs(limit=None)]
    still_full = submit_until_full(store, "still")[0]
    ballast.unlink()
    later = submit(store, "later").label
    again = submit(store, f"first{len(acknowledged)}").label  # what was refused, asked again
    store.close()
    reopened = Store(path, clock=time.time)
    print(
        json.dumps(
            {
                "acknowledged": acknowledged,
                "present": present[::-1],
                "message": message,
                "still_full": still_full,
                "later": [later, again],
                "reopened": [job.label for job in reopened.list_jobs(limit=None)][::-1],
            }
        )
    )


def submit_until_full(store: Store, name: str) -> tuple[list[str], str]:
    """Labels that were acknowledged, and what was said then."""
    acknowledged: list[str] = []
    while True:
        try:
            acknowledged.append(submit(store, f"{name}{len(acknowledged)}").label)
        except DiskFullError as exc:
            return acknowledged, str(exc)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
