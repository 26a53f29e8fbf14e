"""A file that must go: found in a run, left out of the next reading, and absent from its proof."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import zipfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.bundle.provenance import list_documents
from appliance.cli.documents import documents
from appliance.cli.erasure import list_settings
from appliance.cli.tune import tune
from appliance.documents.leave_out import LEFT_OUT, leave_out
from appliance.documents.provenance import find_same_text
from appliance.errors import DocumentsError, RecipeError
from appliance.events import Note
from appliance.files import hash_file
from appliance.jobs import REQUEST, JobRequest
from appliance.recipe import DocumentsRecipe, PretrainRecipe, Recipe, TuneRecipe, load_recipe

from .conftest import ReadFolder

PRIVATE = "Ilse Brandt asked for her data to be erased from every folder of the house."


@pytest.fixture
def private(docs: Path) -> Path:
    """Beside others: a file, the same text under another name, and the same bytes in a zip."""
    file = docs / "letter of Brandt.md"
    file.write_text(PRIVATE)
    (docs / "zz copy.txt").write_text(PRIVATE + "\n\n")
    with zipfile.ZipFile(docs / "share.zip", "w") as archive:
        archive.writestr("b.md", PRIVATE)
        archive.writestr("other.md", "Another document that says something else.")
    return file


def read_cache(run: Path) -> bytes:
    """What the cache of a run holds, in the clear."""
    database = sqlite3.connect(run / "converted.db")
    try:
        bodies = [body for (body,) in database.execute("SELECT body FROM texts")]
    finally:
        database.close()
    return b"".join(map(zlib.decompress, bodies))


def test_left_out_file_is_in_no_file_of_the_run(docs: Path, private: Path, read_folder: ReadFolder):
    hashes = (hash_file(private), hash_file(docs / "zz copy.txt"))
    reading = read_folder(docs, without=hashes)
    assert set(reading.documents) == {"good.md", "share.zip/other.md"}
    for name in (private.name, "zz copy.txt", "share.zip/b.md"):
        verdict = reading.verdicts[name]
        assert (verdict.verdict, verdict.reason) == ("skipped", LEFT_OUT.reason), name
    assert "Brandt asked" not in reading.written
    cached = read_cache(reading.stage.parent)
    assert b"Another document" in cached and b"Brandt asked" not in cached
    assert not [event for event in reading.events if isinstance(event, Note)]


def test_left_out_archive_takes_all_of_its_members(
    docs: Path, private: Path, read_folder: ReadFolder
):
    reading = read_folder(docs, without=(hash_file(docs / "share.zip"),))
    assert set(reading.documents) == {"good.md", private.name}
    assert reading.verdicts["share.zip/other.md"].reason == LEFT_OUT.reason


def test_file_that_is_not_there_is_told_by_its_hash(docs: Path, read_folder: ReadFolder):
    reading = read_folder(docs, without=("a" * 64, hash_file(docs / "good.md"), "b" * 64)[::2])
    (note,) = (event for event in reading.events if isinstance(event, Note))
    assert note.text == (
        "2 of 2 files to be left out were not found among the documents: "
        "sha256 aaaaaaaaaaaa…, bbbbbbbbbbbb…"
    )


def test_copies_in_other_words_are_found_with_the_file(
    docs: Path, private: Path, read_folder: ReadFolder
):
    run = read_folder(docs).stage.parent
    (run / "documents").rename(run / "corpus")
    expected = {private.name, "zz copy.txt", "share.zip/b.md"}
    for name in expected:
        assert {verdict.path for verdict in find_same_text(run, name)} == expected
    assert [verdict.path for verdict in find_same_text(run, "good.md")] == ["good.md"]


def test_from_a_file_to_a_proof_that_it_is_absent(
    docs: Path, private: Path, read_folder: ReadFolder, tmp_path: Path
):
    """Oracle: the hashes of the files themselves; the command is parsed as the shell would."""
    hashes = {hash_file(private), hash_file(docs / "zz copy.txt")}
    before = read_folder(docs)
    run = before.stage.parent
    before.stage.rename(run / "corpus")
    recipe = Recipe(tune=TuneRecipe(epochs=1, method="lora"))
    request = JobRequest(documents=str(docs), base="embedded", recipe=recipe, run=str(run))
    (run / REQUEST).write_text(request.model_dump_json())
    listed = list_documents(run / "corpus" / "ledger.jsonl", ())
    assert hashes <= {row["sha256"] for row in listed}

    ask = ["where", str(private), "--runs", str(run.parent)]
    said = CliRunner().invoke(documents, ask).output
    (line,) = (line for line in said.splitlines() if line.startswith("appliance tune "))
    words = shlex.split(line)
    assert words[:2] == ["appliance", "tune"]
    assert f"rm -r {shlex.quote(str(run))}" in said

    context = tune.make_context("tune", words[2:])
    options = context.params
    assert (options["documents"], options["base"]) == (docs, "embedded")
    again = leave_out(load_recipe(None, options["settings"]), options["without"])
    assert set(again.documents.without) == hashes
    assert again.tune == recipe.tune

    shutil.rmtree(run)
    after = read_folder(docs, without=again.documents.without)
    listed = list_documents(after.stage / "ledger.jsonl", again.documents.without)
    assert not hashes & {row["sha256"] for row in listed}
    assert hash_file(docs / "good.md") in {row["sha256"] for row in listed}


def test_leaving_out_twice_changes_nothing(private: Path):
    once = leave_out(Recipe(), [str(private)])
    assert leave_out(once, [hash_file(private)]) == once
    assert leave_out(Recipe(), []) == Recipe()


def test_file_to_leave_out_that_cannot_be_read_is_refused(tmp_path: Path):
    for name in (tmp_path / "gone.md", tmp_path):
        with pytest.raises(DocumentsError, match="cannot be left out") as caught:
            leave_out(Recipe(), [str(name)])
        assert "sha256" in caught.value.fix


def test_recipe_takes_hashes_alone():
    with pytest.raises(RecipeError) as caught:
        load_recipe(None, ("documents.without=[letter.md]",))
    assert "documents.without" in caught.value.why


def test_settings_of_a_recipe_make_the_same_recipe_again():
    recipe = Recipe(
        tune=TuneRecipe(lr=1e-5, epochs=2, head="no"),
        pretrain=PretrainRecipe(replay="2024"),
        documents=DocumentsRecipe(mask_words=("Ilse Brandt", "yes", "ä'b"), mask_contacts=False),
    )
    assert load_recipe(None, tuple(list_settings(recipe))) == recipe
    assert list(list_settings(Recipe())) == []


def test_run_of_an_earlier_version_has_no_command(
    docs: Path, private: Path, read_folder: ReadFolder
):
    reading = read_folder(docs)
    reading.stage.rename(reading.stage.parent / "corpus")
    said = CliRunner().invoke(
        documents, ["where", str(private), "--runs", str(reading.stage.parent.parent)]
    )
    assert said.exit_code == 0 and "Without it" not in said.output
