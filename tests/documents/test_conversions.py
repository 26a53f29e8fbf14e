"""Reading in parallel, in order, and from what was read before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.documents.cache import FILE_NAME, TextCache
from appliance.documents.capacity import count_converters
from appliance.documents.conversion import Conversion, Limits
from appliance.documents.conversions import Conversions
from appliance.documents.converter import ConversionFailure
from appliance.documents.scrub import ScrubPolicy
from appliance.documents.walk import Entry, list_entries
from appliance.errors import InterruptedRun

from .conftest import ReadFolder

LIMITS = Limits(max_bytes=2**26, seconds=30.0, policy=ScrubPolicy())


def read_entries(
    docs: Path, run: Path, entries: Iterator[Entry], should_stop=lambda: False, **options
) -> tuple[list[Conversion], int]:
    """All conversions, and how many of them came from the cache."""
    run.mkdir(exist_ok=True)
    with TextCache(run, options.pop("cache_bytes", 2**20)) as cache:
        made = list(Conversions(docs, LIMITS, cache, should_stop, **options).convert_all(entries))
        cache.forget_unused()
        return made, cache.num_found


def write_notes(docs: Path, number: int) -> None:
    for n in range(number):
        (docs / f"note{n:02}.md").write_text(f"# Note {n}\n\nRule {n} is: never {n * 7} twice.\n")


def test_order_is_that_of_the_files_whatever_the_number_of_converters(docs: Path, tmp_path: Path):
    write_notes(docs, 12)
    (docs / "note00.md").write_text("A long text takes longer to read. " * 20_000)
    entries = list_entries(docs)
    one, _ = read_entries(docs, tmp_path / "1", iter(entries), num_converters=1)
    three, _ = read_entries(docs, tmp_path / "3", iter(entries), num_converters=3)
    assert [made.entry for made in three] == entries
    assert [made.reply for made in one] == [made.reply for made in three]


def test_second_reading_asks_no_converter(docs: Path, tmp_path: Path):
    write_notes(docs, 4)
    (docs / "broken.docx").write_bytes(b"PK\x03\x04 nothing")
    entries = list_entries(docs)
    first, found_at_first = read_entries(docs, tmp_path / "run", iter(entries))
    second, found = read_entries(docs, tmp_path / "run", iter(entries))
    assert (found_at_first, found) == (0, len(entries))
    assert second == first


def test_only_changed_files_are_read_again(docs: Path, tmp_path: Path, read_folder: ReadFolder):
    write_notes(docs, 4)
    read_folder(docs)
    (docs / "note01.md").write_text("# Note 1\n\nRule 1 was rewritten by hand this morning.\n")
    (docs / "note02.md").unlink()
    reading = read_folder(docs)
    assert "rewritten by hand" in reading.documents["note01.md"].text
    with TextCache(tmp_path / "run", 2**20) as cache:
        rows = cache._database.execute("SELECT COUNT(*) FROM texts").fetchone()
    assert rows == (4,)  # oracle: five files lie there; those that are gone were forgotten


def test_reading_goes_on_where_it_was_stopped(docs: Path, tmp_path: Path, read_folder: ReadFolder):
    write_notes(docs, 8)
    asked = iter(range(1_000))
    with pytest.raises(InterruptedRun):
        read_folder(docs, should_stop=lambda: next(asked) > 12)
    with TextCache(tmp_path / "run", 2**20) as cache:
        (num_kept,) = cache._database.execute("SELECT COUNT(*) FROM texts").fetchone()
    assert 0 < num_kept < 9
    entries = list_entries(docs)
    with TextCache(tmp_path / "run", 2**20) as cache:
        list(Conversions(docs, LIMITS, cache, lambda: False).convert_all(iter(entries)))
        assert cache.num_found == num_kept


def test_same_value_keeps_its_placeholder_through_the_cache(docs: Path, read_folder: ReadFolder):
    (docs / "a.md").write_text("Write to ada@example.org if the pump stops.")
    (docs / "b.md").write_text("Write to bob@example.org if the door stops.")
    first = read_folder(docs).documents
    (docs / "c.md").write_text("Both ada@example.org and bob@example.org know the door.")
    second = read_folder(docs).documents
    assert second["a.md"] == first["a.md"]
    assert second["c.md"].text == "Both <EMAIL_1> and <EMAIL_2> know the door."


def test_other_policy_reads_anew(docs: Path, read_folder: ReadFolder):
    (docs / "a.md").write_text("Write to ada@example.org if the pump stops.")
    assert "<EMAIL_1>" in read_folder(docs).documents["a.md"].text
    assert "ada@example.org" in read_folder(docs, mask_contacts=False).documents["a.md"].text


def test_cache_is_closed_to_others_and_holds_no_private_value(docs: Path, read_folder: ReadFolder):
    (docs / "a.md").write_text("Write to ada@example.org if the pump stops.")
    os.umask(0o022)
    run = read_folder(docs).stage.parent
    files = [path for path in run.iterdir() if path.name.startswith(FILE_NAME)]
    assert files and all(path.stat().st_mode & 0o077 == 0 for path in files)
    with TextCache(run, 2**20) as cache:
        replies = [
            cache.find(key)
            for (key,) in cache._database.execute("SELECT key FROM texts").fetchall()
        ]
    assert len(replies) == 2 and "ada@" not in repr(replies)


def test_no_cache_is_left_when_the_recipe_wants_none(docs: Path, read_folder: ReadFolder):
    run = read_folder(docs).stage.parent
    assert (run / FILE_NAME).exists()
    read_folder(docs, cache_mebibytes=0)
    assert not [path for path in run.iterdir() if path.name.startswith(FILE_NAME)]


def test_cache_never_grows_past_its_size(docs: Path, tmp_path: Path):
    for n in range(6):
        (docs / f"noise{n}.md").write_text(os.urandom(30_000).hex(" "))
    read_entries(docs, tmp_path / "run", iter(list_entries(docs)), cache_bytes=100_000)
    with TextCache(tmp_path / "run", 2**20) as cache:
        (size,) = cache._database.execute("SELECT SUM(LENGTH(body)) FROM texts").fetchone()
    assert 50_000 < size <= 100_000


@pytest.mark.parametrize(
    "damage", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 9_000]
)
def test_damaged_cache_is_made_anew(docs: Path, tmp_path: Path, damage: bytes):
    run = tmp_path / "run"
    read_entries(docs, run, iter(list_entries(docs)))
    for path in run.iterdir():
        path.write_bytes(damage)
    made, found = read_entries(docs, run, iter(list_entries(docs)))
    assert isinstance(made[0].reply, dict) and found == 0


def change_size(path: Path) -> None:
    path.write_text("It has other words now.")


def make_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_its_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to("/etc")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_size, "it changed while"),
        (Path.unlink, "it was removed or moved"),
        (make_link, "a link took its place"),
        (make_pipe, "it changed while"),
        (link_its_folder, "was removed or moved|a link took its place"),
    ],
)
def test_file_that_changes_after_it_was_listed_is_left_out(
    docs: Path, tmp_path: Path, change, reason
):
    (docs / "inner").mkdir()
    (docs / "inner" / "passwd").write_text("These words will not stay as they are.")
    entries = list_entries(docs)
    change(docs / "inner" / "passwd")
    made, _ = read_entries(docs, tmp_path / "run", iter(entries))
    by_name = {each.entry.name: each.reply for each in made}
    assert isinstance(by_name["good.md"], dict)
    failure = by_name["inner/passwd"]
    assert isinstance(failure, ConversionFailure) and failure.fix
    assert any(part in failure.reason for part in reason.split("|"))


def test_archive_that_becomes_a_pipe_is_left_out(docs: Path, tmp_path: Path):
    (docs / "a.zip").write_bytes(b"PK\x03\x04")
    entries = list_entries(docs)
    make_pipe(docs / "a.zip")
    made, _ = read_entries(docs, tmp_path / "run", iter(entries))
    failure = made[0].reply
    assert isinstance(failure, ConversionFailure) and "it changed while" in failure.reason


def test_file_that_changes_while_it_is_read_is_left_out(docs: Path, tmp_path: Path):
    path = docs / "live.md"
    path.write_text("A line of a journal. " * 1_000)
    entries = [entry for entry in list_entries(docs) if entry.name == "live.md"]

    def write_on() -> bool:  # asked while the converter is at work
        with path.open("a") as file:
            file.write("One more line. ")
        return False

    made, _ = read_entries(docs, tmp_path / "run", iter(entries), write_on)
    assert isinstance(made[0].reply, ConversionFailure)
    assert "changed while" in made[0].reply.reason
    _, found = read_entries(docs, tmp_path / "run", iter(list_entries(docs)))
    assert found == 0  # nothing of it was kept


def test_converters_are_at_least_one_and_at_most_one_a_core():
    assert 1 <= count_converters() <= len(os.sched_getaffinity(0))
