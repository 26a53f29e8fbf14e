"""Should it be tuned? The five ways of answering on real corpora, and what is recommended.

    scripts/bench evaluation --json FILE          every corpus
    scripts/bench evaluation --only routing       one alone

Corpora are looked for in $APPLIANCE_TEST_DATA, else in shared/data beside the repository; what is
not there is left out, and said. Two of them are made from question-answer sets, so that the right
advice is known beforehand: in `facts`, answers stand in articles and nowhere else (search); in
`routing`, messages are sorted into a bank's 77 queues, which no document explains (tuning).
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]

ROUTING_ROWS = 2_500
"""Of 10,003: about 32 a queue."""

Row = dict[str, Any]


def make_facts(data: Path, target: Path) -> None:
    """Articles of XQuAD as documents, its questions and answers beside them."""
    tree = json.loads((data / "qa/xquad-en/xquad.en.json").read_text(encoding="utf-8"))
    rows = []
    for number, article in enumerate(tree["data"]):
        paragraphs = article["paragraphs"]
        text = "\n\n".join(paragraph["context"] for paragraph in paragraphs)
        (target / f"article-{number:02}.md").write_text(text + "\n", encoding="utf-8")
        rows += [
            {"question": asked["question"], "answer": asked["answers"][0]["text"]}
            for paragraph in paragraphs
            for asked in paragraph["qas"]
        ]
    write_rows(target / "questions.jsonl", rows)


def make_routing(data: Path, target: Path) -> None:
    """Messages of BANKING77 with the queue that each belongs to."""
    with (data / "qa/banking77/train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(0).shuffle(rows)
    pairs = [
        {"question": row["text"], "answer": row["category"].replace("_", " ")}
        for row in rows[:ROUTING_ROWS]
    ]
    write_rows(target / "messages.jsonl", pairs)


def make_medical(data: Path, target: Path) -> None:
    """Questions and long answers of MedQuAD, each known from nowhere but its own row."""
    write_rows(target / "questions.jsonl", read_rows(data / "qa/medquad-niddk/qa.jsonl")[:600])


def read_rows(path: Path) -> list[Row]:
    """Question and answer of each line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{key: json.loads(line)[key] for key in ("question", "answer")} for line in lines]


def write_rows(path: Path, rows: list[Row]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


MADE: dict[str, tuple[str, Callable[[Path, Path], None], str]] = {
    "facts": ("qa/xquad-en", make_facts, "search"),
    "routing": ("qa/banking77", make_routing, "tune"),
    "medical": ("qa/medquad-niddk", make_medical, ""),
}
"""Where the set lies, what makes a folder of it, and the advice that it must get."""

FOLDERS = {
    "18f-handbook": "18f-handbook",
    "openstax-intellectual-property": "openstax-intellectual-property",
    "clef-handbook": "clef-handbook",
}


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write rows and checks.")
@click.option("--only", multiple=True, type=click.Choice([*MADE, *FOLDERS]), help="Corpora to run.")
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "build" / "bench")
@click.option("--set", "settings", multiple=True, help="As of appliance assess.")
def main(
    json_file: Path | None, only: tuple[str, ...], work: Path, settings: tuple[str, ...]
) -> None:
    """Run `appliance assess` on every corpus and hold its advice against what is known."""
    data = Path(os.environ.get("APPLIANCE_TEST_DATA", ROOT.parent / "shared" / "data"))
    rows: list[Row] = []
    for name in only or (*MADE, *FOLDERS):
        place = data / (MADE[name][0] if name in MADE else FOLDERS[name])
        if not place.is_dir():
            click.echo(f"{name}: left out, {place} is not there", err=True)
            continue
        folder = prepare(name, data, work) if name in MADE else place
        rows.append(make_row(name, assess(folder, work / "runs", settings)))
        click.echo(describe_row(rows[-1]), err=True)
        if json_file:
            json_file.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    missed = [row for row in rows if row["expected"] not in ("", row["recommendation"])]
    for row in rows:
        mark = "MISSED" if row in missed else "ok    "
        known = f" (known: {row['expected']})" if row["expected"] else ""
        click.echo(f"{mark} {row['corpus']}: {row['recommendation']}{known}")
    sys.exit(1 if missed else 0)


def prepare(name: str, data: Path, work: Path) -> Path:
    """The folder of a corpus that is made from a set."""
    folder = work / "corpora" / name
    folder.mkdir(parents=True, exist_ok=True)
    MADE[name][1](data, folder)
    return folder


def assess(folder: Path, runs: Path, settings: tuple[str, ...]) -> Row:
    """The command that a person would type, from scratch."""
    command = [sys.executable, "-m", "appliance", "assess", str(folder), "--runs", str(runs)]
    options = [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(
        [*command, *options, "--fresh", "--json"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise click.ClickException(f"assess {folder.name} failed:\n{done.stderr}")
    result: Row = json.loads(done.stdout)
    return result


def make_row(name: str, result: Row) -> Row:
    """What an assessment found, and what was known beforehand."""
    stages = result["seconds"]
    return {
        "corpus": name,
        "expected": MADE[name][2] if name in MADE else "",
        "total_seconds": round(sum(stages.values()), 1),
        **{key: value for key, value in result.items() if key != "run"},
    }


def describe_row(row: Row) -> str:
    """`facts: base 0.61 (0.55 to 0.67) · … · search`."""
    ways = [
        f"{way['name']} {way['score']:.2f} ({way['low']:.2f} to {way['high']:.2f})"
        for way in row["ways"]
    ]
    return " · ".join(
        [f"{row['corpus']}: {row['total_seconds']:.0f} s", *ways, row["recommendation"]]
    )
