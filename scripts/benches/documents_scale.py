"""Memory of reading a folder as it grows, and a reading that is killed and goes on.

    scripts/bench documents-scale --json FILE           2 GB: about an hour on one core

One folder is written; smaller ones are its first files. The peak of each process is what the kernel
calls VmHWM (getrusage would tell that of the parent at the fork). Where the line through the peaks
goes at 10 GB is computed, not measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from appliance.documents.cache import FILE_NAME  # noqa: E402
from appliance.units import MIB  # noqa: E402

GIGABYTE = 10**9
FAR_GIGABYTES = 10

READ = """
import sys
from pathlib import Path
from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder
docs, run = map(Path, sys.argv[1:])
stage = run / "corpus"
stage.mkdir(parents=True, exist_ok=True)
made = read_corpus(
    scan_folder(docs),
    DocumentsRecipe(cache_mebibytes=4096),
    StageFolder(name="corpus", folder=stage, run=run, should_stop=lambda: False,
                on_event=lambda event: print(event.done, flush=True)),
)
print(made.model_dump_json())
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], flush=True)
"""


Row = dict[str, Any]


@click.command()
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the rows there.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the documents there.")
@click.option("--gigabytes", multiple=True, type=float, default=(0.25, 0.5, 1.0, 2.0))
@click.option("--killed/--not-killed", default=True, help="Also kill the largest and go on.")
def main(
    file: Path | None, folder: Path | None, gigabytes: tuple[float, ...], killed: bool
) -> None:
    """Peak memory of reading folders of several sizes; a killed reading that goes on."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        rows = []
        whole = make_whole(folder or Path(temporary), max(gigabytes))
        for size in sorted(gigabytes):
            part = link_part(whole, Path(temporary) / f"part-{size:g}", size)
            rows.append(measure_reading(part, Path(temporary) / f"run-{size:g}"))
            click.echo(json.dumps(rows[-1]))
        body: Row = {"reading": rows, "slope": fit(rows)}
        click.echo(json.dumps(body["slope"]))
        if killed:
            body["killed"] = measure_restart(part, Path(temporary) / "run-killed")
            click.echo(json.dumps(body["killed"]))
    if file:
        file.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def make_whole(folder: Path, gigabytes: float) -> Path:
    """The largest folder; one that was made before is taken as it is."""
    from documents_folder import TEXT_SHARES, write_folder

    whole = folder / f"whole-{gigabytes:g}"
    if not whole.exists():
        write_folder(whole, int(gigabytes * GIGABYTE), TEXT_SHARES)
    return whole


def link_part(whole: Path, part: Path, gigabytes: float) -> Path:
    """A folder of the first files of another, up to a size, without copying them."""
    left = gigabytes * GIGABYTE
    for path in sorted(whole.rglob("*.*"), key=lambda path: path.stem.rpartition("-")[2]):
        if left <= 0:
            break
        left -= path.stat().st_size
        place = part / path.relative_to(whole)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, place)
    return part


def start_reading(docs: Path, run: Path) -> subprocess.Popen[str]:
    """Read a folder in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", READ, docs, run],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def measure_reading(docs: Path, run: Path) -> Row:
    """Time and peak memory of one reading, of the process itself and of its converters."""
    began, converters = time.monotonic(), 0
    with start_reading(docs, run) as reading:
        assert reading.stdout is not None
        lines = [""]
        for number, line in enumerate(reading.stdout):
            lines = [*lines[-1:], line]
            if number % 200 == 0:
                converters = max([converters, *map(read_peak, list_children(reading.pid))])
    corpus = json.loads(lines[0])
    sizes = [path.stat().st_size for path in docs.rglob("*.*")]
    return {
        "gigabytes": sum(sizes) / GIGABYTE,
        "num_files": len(sizes),
        "num_documents": corpus["num_documents"],
        "num_duplicates": corpus["num_duplicates"],
        "num_masked": corpus["num_secrets_masked"],
        "seconds": round(time.monotonic() - began),
        "peak_mebibytes": round(int(lines[1]) * 1024 / MIB, 1),
        "converter_peak_mebibytes": round(converters / MIB, 1),
        "cache_mebibytes": round((run / FILE_NAME).stat().st_size / MIB, 1),
    }


def list_children(pid: int) -> list[int]:
    """The processes that a process started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # the thread is gone
            continue
    return found


def read_peak(pid: int) -> int:
    """VmHWM of a process in bytes; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(text.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in text else 0


def fit(rows: list[Row]) -> Row:
    """The line through the peaks, and where it goes."""
    sizes = [row["gigabytes"] for row in rows]
    slope, start = np.polyfit(sizes, [row["peak_mebibytes"] for row in rows], 1)
    per_file = slope * MIB / np.polyfit(sizes, [row["num_files"] for row in rows], 1)[0]
    return {
        "mebibytes_per_gigabyte": round(float(slope), 1),
        "bytes_per_file": round(float(per_file)),
        f"mebibytes_at_{FAR_GIGABYTES}_gigabytes": round(float(start + FAR_GIGABYTES * slope)),
    }


def measure_restart(docs: Path, run: Path) -> Row:
    """Kill -9 a reading half way, start again, and count what was converted twice."""
    num_files = sum(1 for _ in docs.rglob("*.*"))
    began = time.monotonic()
    with start_reading(docs, run) as reading:
        assert reading.stdout is not None
        for line in reading.stdout:
            if int(line) >= num_files // 2:
                reading.kill()
                break
    killed = time.monotonic()
    kept = count_kept(run)
    after = measure_reading(docs, run)
    return {
        "num_files": num_files,
        "killed_after": int(line),
        "seconds_until_killed": round(killed - began),
        "num_kept": kept,
        "seconds_after": after["seconds"],
        "peak_mebibytes": after["peak_mebibytes"],
        "num_documents": after["num_documents"],
    }


def count_kept(run: Path) -> int:
    """Files whose text a killed reading left in the cache."""
    import sqlite3

    with sqlite3.connect(run / FILE_NAME) as database:
        (number,) = database.execute("SELECT COUNT(*) FROM texts").fetchone()
    return int(number)


if __name__ == "__main__":
    main()
