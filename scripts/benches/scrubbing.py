"""What masking finds, what it takes by mistake, and how fast it reads clean text.

    scripts/bench scrubbing --json FILE

Three made-up sets (tests/documents/scrub_sets): the one that patterns were tuned on, one that was
held out, one whose values other people's generators made. Clean text is real: handbooks and a
textbook, with the few values in it that are indeed private.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from appliance.documents.clean import clean_text  # noqa: E402
from appliance.documents.scrub import ScrubPolicy, find_private  # noqa: E402
from tests.documents.scrub_sets.cases import Case  # noqa: E402
from tests.documents.scrub_sets.held_out import make_held_out  # noqa: E402
from tests.documents.scrub_sets.outside import make_outside  # noqa: E402
from tests.documents.scrub_sets.tuning import make_tuning  # noqa: E402

SETS = {"tuning": make_tuning, "held-out": make_held_out, "outside": make_outside}
CORPORA = ("18f-handbook", "clef-handbook", "openstax-intellectual-property")
LEAST_RECALL, MOST_ALARMS, LEAST_MEGABYTES_PER_SECOND = 0.95, 0.05, 10.0
LEAST_COVERED = 0.9
ROUNDS = 5

Row = dict[str, Any]


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=ROOT.parent / "shared" / "data",
    help="Where real documents lie.",
)
def main(json_file: Path | None, data: Path) -> None:
    """Recall and false alarms on three made-up sets, speed on real text."""
    rows = [measure_set(name, make()) for name, make in SETS.items()]
    rows += [measure_speed(data / corpus) for corpus in CORPORA if (data / corpus).is_dir()]
    for row in rows:
        click.echo(describe(row))
    if json_file:
        json_file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if not all(row["ok"] for row in rows):
        sys.exit(1)


def measure_set(name: str, cases: list[Case]) -> Row:
    """Share of values that are masked, and of look-alikes that are."""
    hits: dict[str, list[bool]] = defaultdict(list)
    alarms: Counter[str] = Counter()
    num_decoys = 0
    for case in cases:
        spans = [(f.start, f.end) for f in find_private(case.text, ScrubPolicy())]
        if case.value:
            hits[case.kind].append(is_covered(case, spans))
        else:
            num_decoys += 1
            alarms[case.kind] += bool(spans)
    recall = {kind: sum(found) / len(found) for kind, found in sorted(hits.items())}
    share = alarms.total() / num_decoys
    return {
        "subject": name,
        "recall": recall,
        "num_values": sum(map(len, hits.values())),
        "num_decoys": num_decoys,
        "alarms": {kind: number for kind, number in alarms.items() if number},
        "alarm_share": share,
        "ok": min(recall.values()) >= LEAST_RECALL and share <= MOST_ALARMS,
    }


def is_covered(case: Case, spans: list[tuple[int, int]]) -> bool:
    """Whether nine tenths of the value are masked."""
    start = case.text.index(case.value)
    end = start + len(case.value)
    covered = sum(max(0, min(end, stop) - max(start, begin)) for begin, stop in spans)
    return covered >= LEAST_COVERED * len(case.value)


def measure_speed(folder: Path) -> Row:
    """Megabytes a second of processor time, one thread, best of five."""
    paths = sorted(folder.rglob("*.md"))
    texts = [clean_text(path.read_text(encoding="utf-8")).text for path in paths]  # as in a run
    num_bytes = sum(len(text.encode()) for text in texts)
    found: Counter[str] = Counter()
    best = float("inf")
    for _ in range(ROUNDS):
        found.clear()
        began = time.process_time()
        for text in texts:
            found.update(each.kind for each in find_private(text, ScrubPolicy()))
        best = min(best, time.process_time() - began)
    speed = num_bytes / 1e6 / best
    return {
        "subject": folder.name,
        "megabytes": num_bytes / 1e6,
        "megabytes_per_second": speed,
        "found": dict(found),
        "ok": speed >= LEAST_MEGABYTES_PER_SECOND,
    }


def describe(row: Row) -> str:
    """A row for people."""
    mark = "ok    " if row["ok"] else "MISSED"
    if "recall" in row:
        recall = ", ".join(f"{kind} {share:.1%}" for kind, share in row["recall"].items())
        return (
            f"{mark} {row['subject']}: recall of {row['num_values']:,} values: {recall}; "
            f"{row['alarm_share']:.1%} of {row['num_decoys']} look-alikes taken"
        )
    found = ", ".join(f"{number} {kind}" for kind, number in row["found"].items())
    return (
        f"{mark} {row['subject']}: {row['megabytes_per_second']:.1f} MB/s "
        f"({row['megabytes']:.1f} MB; found {found or 'nothing'})"
    )


if __name__ == "__main__":
    main()
