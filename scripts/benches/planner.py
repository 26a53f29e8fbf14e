"""What the planner promises beside what is true: memory, time, and the report's own speed.

    scripts/bench planner --json FILE                    all of it: about an hour on one core
    scripts/bench planner --only memory --only anchors   parts of it

Memory does not depend on what else runs; time does, and the load stands beside it. Run it on one
core (`taskset -c 0`) with one thread.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from appliance.offline import go_offline  # noqa: E402
from appliance.units import MIB  # noqa: E402

PARTS = ("memory", "kept", "tracked", "anchors", "report", "time")

Row = dict[str, Any]


@click.command()
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="This part; repeatable.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the rows there.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the random bases there.")
def main(only: tuple[str, ...], file: Path | None, folder: Path | None) -> None:
    """Planned memory and time beside measured ones."""
    go_offline()
    body: dict[str, list[Row]] = json.loads(file.read_text()) if file and file.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        for part in only or PARTS:
            click.echo(f"{part}:")
            body[part] = run_part(part, place)
            if file:
                file.write_text(json.dumps(body, indent=1) + "\n")
    missed = [line for part in body for line, is_met in judge(part, body[part]) if not is_met]
    for part in body:
        for line, is_met in judge(part, body[part]):
            click.echo(f"{'ok    ' if is_met else 'MISSED'} {part}: {line}")
    sys.exit(1 if missed else 0)


def run_part(part: str, folder: Path) -> list[Row]:
    """Measure a part; its rows, each shown when it is there."""
    import planner_anchors
    import planner_memory
    import planner_time
    import planner_tracked

    def measure_memory(settings: Any) -> list[Row]:
        return planner_memory.measure_memory(settings, folder, _show)

    parts: dict[str, Callable[[], list[Row]]] = {
        "memory": lambda: measure_memory(planner_memory.SETTINGS),
        "kept": lambda: measure_memory(planner_memory.KEPT),
        "tracked": lambda: planner_tracked.track_shapes(_show),
        "anchors": lambda: planner_anchors.compare_anchors(_show),
        "report": lambda: planner_time.measure_report(folder, _show),
        "time": lambda: planner_time.measure_time(folder, _show),
    }
    return parts[part]()


def judge(part: str, rows: list[Row]) -> Iterator[tuple[str, bool]]:
    """What was asked of a part, what came out, and whether that is enough."""
    errors = [row["error"] for row in rows if "error" in row]
    mean = sum(map(abs, errors)) / max(1, len(errors))
    worst, lowest = max(map(abs, errors), default=0.0), min(errors, default=0.0)
    if part == "memory":
        yield f"mean error {mean:.1%} of {len(rows)}, asked 3 %", mean <= 0.03
        yield f"largest {worst:.1%}, asked 8 %", worst <= 0.08
        yield f"lowest {lowest:+.1%}, asked -3 %", lowest >= -0.03
    elif part == "kept":
        yield f"mean error {mean:.1%}, largest {worst:.1%}; nothing was asked", True
    elif part == "tracked":
        yield f"mean error {mean:.2%} of {len(rows)}, asked 2 %", mean <= 0.02
        yield f"largest {worst:.2%}, asked 5 %", worst <= 0.05
    elif part == "time":
        yield f"largest error {worst:.0%} of {len(rows)}, asked 20 %", worst <= 0.2
    elif part == "report":
        for row, limit in zip(rows, (3.0, 15.0), strict=True):
            seconds = row["seconds"]
            yield f"{' '.join(row['arguments'])} {seconds:.1f} s, asked {limit:g}", seconds < limit


def _show(row: Row) -> None:
    """A row on a line: numbers of bytes as MiB, shares as per cent."""
    words = []
    for key, value in row.items():
        if isinstance(value, dict) or key == "goal":
            continue
        if key == "error":
            words.append(f"error {value:+.2%}")
        elif key.endswith("_bytes"):
            words.append(f"{key.removesuffix('_bytes')} {value / MIB:,.1f} MiB")
        elif isinstance(value, float):
            words.append(f"{key} {value:.4g}")
        else:
            words.append(f"{key} {value}")
    click.echo("  " + " · ".join(words))


if __name__ == "__main__":
    main()
