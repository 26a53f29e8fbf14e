"""Memory that does not grow with the folder, and a reading that is killed and goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from appliance.documents.cache import TextCache
from appliance.documents.conversion import Limits
from appliance.documents.conversions import Conversions
from appliance.documents.scrub import ScrubPolicy
from appliance.documents.walk import list_entries
from tests.conftest import ROOT

READ = """
import resource, sys
from pathlib import Path
from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder

docs, run = map(Path, sys.argv[1:])
stage = run / "corpus"
stage.mkdir(parents=True, exist_ok=True)
read_corpus(
    scan_folder(docs),
    DocumentsRecipe(),
    StageFolder(name="corpus", folder=stage, run=run, should_stop=lambda: False,
                on_event=lambda event: print(event.done, flush=True)),
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def start_reading(docs: Path, run: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", READ, docs, run], stdout=subprocess.PIPE, text=True, env=environment
    )


def write_folder(docs: Path, num_files: int, num_bytes: int) -> None:
    """Texts of random words: none repeats another."""
    generator = random.Random(num_files)
    words = ["".join(generator.choices("abcdefghiklmnoprstu", k=6)) for _ in range(5_000)]
    docs.mkdir(parents=True)
    for number in range(num_files):
        lines = (
            " ".join(generator.choices(words, k=30)) + ".\n\n" for _ in range(num_bytes // 210)
        )
        (docs / f"{number:03}.md").write_text(f"# Text {number}\n\n" + "".join(lines))


def test_memory_does_not_grow_with_the_folder(tmp_path: Path):
    # oracle: whoever kept the text of the second folder would need 9 MB more
    peaks = []
    for num_files in (20, 110):
        write_folder(tmp_path / str(num_files) / "docs", num_files, 100_000)
        with start_reading(
            tmp_path / str(num_files) / "docs", tmp_path / str(num_files)
        ) as reading:
            assert reading.stdout is not None
            peaks.append(int(reading.stdout.read().split()[-1]))
    assert peaks[1] - peaks[0] < 4_500_000


def test_killed_reading_goes_on_without_reading_finished_files_again(tmp_path: Path):
    docs, run = tmp_path / "docs", tmp_path / "run"
    write_folder(docs, 30, 5_000)
    with start_reading(docs, run) as reading:
        assert reading.stdout is not None
        for _ in range(10):
            reading.stdout.readline()
        reading.send_signal(signal.SIGKILL)
    with TextCache(run, 2**20) as cache:
        assert cache._database is not None
        (num_kept,) = cache._database.execute("SELECT COUNT(*) FROM texts").fetchone()
    assert num_kept >= 10
    limits = Limits(max_bytes=2**26, seconds=30.0, policy=ScrubPolicy())
    with TextCache(run, 2**20) as cache:
        again = Conversions(docs, limits, cache, lambda: False)
        made = list(again.convert_all(iter(list_entries(docs))))
        assert cache.num_found == num_kept
    assert len(made) == 30 and all(isinstance(each.reply, dict) for each in made)
