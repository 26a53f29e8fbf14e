"""Reading real and generated folders beside two other tools: speed, text kept, crashes.

    scripts/bench documents --json FILE

Each tool lies in an environment of its own, pinned, and is installed by this script; one that
cannot be installed is left out, with the reason. All use the same cores. Ours does what a job does:
limits on each file, masking, duplicates, boilerplate, the ledger; the others only take the text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from documents_words import Texts, compare_texts

ROOT = Path(__file__).resolve().parents[2]

PEERS = {
    "markitdown": "markitdown[docx,pdf,pptx,xlsx]==0.1.8",
    "kreuzberg": "kreuzberg==4.10.4",
}
CORPORA = ("formats", "18f-handbook", "openstax-intellectual-property")
MEGABYTE = 10**6
INSTALL_SECONDS = 900

READ = """
import json, sys
from pathlib import Path
from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder
docs, run, recipe = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
stage = run / "corpus"
stage.mkdir(parents=True)
read_corpus(
    scan_folder(docs),
    DocumentsRecipe(**recipe),
    StageFolder(name="corpus", folder=stage, run=run, should_stop=lambda: False,
                on_event=lambda event: None),
)
"""

ALL_TEXT = {
    "mask_secrets": False,
    "mask_contacts": False,
    "boilerplate": "keep",
    "near_duplicates": "keep",
}
"""To compare text: nothing is taken out of it on purpose."""

CRASHES = ("its reader crashed", "its reader failed", "reading took longer", "more memory")

Row = dict[str, Any]


@click.command()
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the rows there.")
@click.option("--data", type=click.Path(path_type=Path), default=ROOT.parent / "shared" / "data")
@click.option("--megabytes", default=50, help="Size of the generated folder.")
@click.option(
    "--peers",
    type=click.Path(path_type=Path),
    default=Path.home() / ".cache" / "appliance-bench",
    help="Where the other tools are installed.",
)
@click.option("--only", multiple=True, help="Of these folders only; `generated` is one.")
def main(file: Path | None, data: Path, megabytes: int, peers: Path, only: tuple[str, ...]) -> None:
    """Files and MB a second, text kept, crashes; beside markitdown and kreuzberg."""
    from documents_folder import SHARES, write_folder

    tools = {name: install(name, peers) for name in PEERS}
    for name, reason in tools.items():
        if isinstance(reason, str):
            click.echo(f"{name} is left out: {reason}")
    body: Row = {"num_cores": count_cores(), "left_out": {}, "folders": {}}
    body["left_out"] = {name: reason for name, reason in tools.items() if isinstance(reason, str)}
    pythons = {name: path for name, path in tools.items() if isinstance(path, Path)}
    with tempfile.TemporaryDirectory() as temporary:
        for name in only or (*CORPORA, "generated"):
            docs = data / name
            if name == "generated":
                docs = Path(temporary) / name
                write_folder(docs, megabytes * MEGABYTE, SHARES)
            body["folders"][name] = measure_folder(docs, pythons, Path(temporary) / f"run-{name}")
            show(name, body["folders"][name])
            if file:
                file.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def install(name: str, folder: Path) -> Path | str:
    """The interpreter of a tool's environment; or why there is none."""
    place = folder / name
    python = place / "bin" / "python"
    if (place / "installed").exists():
        return python
    try:
        venv.create(place, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", PEERS[name]],
            check=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return f"it could not be installed ({type(exc).__name__})"
    (place / "installed").write_text(PEERS[name])
    return python


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def measure_folder(docs: Path, pythons: dict[str, Path], run: Path) -> Row:
    """All tools on one folder."""
    paths = [path for path in sorted(docs.rglob("*")) if path.is_file()]
    num_bytes = sum(path.stat().st_size for path in paths)
    run.mkdir()
    speeds = {"appliance": read_ourselves(docs, run / "as-a-job", {})}
    num_crashes = {"appliance": count_crashes(run / "as-a-job")}
    read_ourselves(docs, run / "all-text", ALL_TEXT)
    texts: dict[str, Texts] = {}
    (run / "files").write_text("\n".join(map(str, paths)), encoding="utf-8")
    for name, python in pythons.items():
        command = [python, ROOT / "scripts" / "benches" / "documents_peer.py", name]
        speeds[name] = run_timed([*command, count_cores(), run / "files", run / name])
        replies = list(read_lines(run / name)) if (run / name).exists() else []
        texts[name] = {
            str(Path(reply["path"]).relative_to(docs)): reply["text"]
            for reply in replies
            if "text" in reply
        }
        num_crashes[name] = len(paths) - len(replies)
    ours = collect_texts(run / "all-text")
    for name, row in speeds.items():
        row["files_per_second"] = round(len(paths) / row["seconds"], 1)
        row["megabytes_per_second"] = round(num_bytes / MEGABYTE / row["seconds"], 2)
        row["num_crashes"] = num_crashes[name]
        row["num_read"] = len(ours if name == "appliance" else texts[name])
    return {
        "num_files": len(paths),
        "megabytes": round(num_bytes / MEGABYTE, 2),
        "speed": speeds,
        "text": compare_texts(ours, texts),
    }


def read_ourselves(docs: Path, run: Path, recipe: Row) -> Row:
    """Read a folder as a job does, in a process of its own."""
    return run_timed([sys.executable, "-c", READ, docs, run, json.dumps(recipe)])


def run_timed(command: list[Any]) -> Row:
    """Wall-clock and processor seconds of a program and all it starts."""
    began = time.monotonic()
    process = subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "exit_code": process.returncode,
    }


def read_lines(path: Path) -> Iterator[Row]:
    """The objects of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def collect_texts(run: Path) -> Texts:
    """What we read of each file; a copy says what the file says that was used in its place."""
    by_name: Texts = {}
    for document in read_lines(run / "corpus" / "documents.jsonl"):
        turns = (turn["content"] for chat in document["conversations"] for turn in chat)
        by_name[document["source"]] = "\n".join((document["title"], document["text"], *turns))
    texts = {}
    for verdict in read_lines(run / "corpus" / "ledger.jsonl"):
        source = verdict["duplicate_of"] or verdict["path"]
        if source in by_name:
            texts[verdict["path"]] = by_name[source]
    return texts


def count_crashes(run: Path) -> int:
    """Files on which a reader of ours died, hung or broke."""
    verdicts = read_lines(run / "corpus" / "ledger.jsonl")
    return sum(any(word in verdict["reason"] for word in CRASHES) for verdict in verdicts)


def show(name: str, row: Row) -> None:
    """One folder, for people."""
    click.echo(f"\n{name}: {row['num_files']:,} files, {row['megabytes']:g} MB")
    for tool, speed in row["speed"].items():
        rates = f"{speed['files_per_second']:>7} files/s {speed['megabytes_per_second']:>6} MB/s"
        counts = f"{speed['num_read']} read  {speed['num_crashes']} crashes"
        click.echo(f"  {tool:<11} {rates}  {speed['cpu_seconds']:>7} cpu s  {counts}")
    for text in row["text"]:
        click.echo(f"  {text}")


if __name__ == "__main__":
    main()
