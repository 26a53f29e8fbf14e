from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli.documents import documents
from appliance.documents.provenance import compare_folder, find_uses
from appliance.errors import DocumentsError
from appliance.values import TokenVerdict

from .conftest import ReadFolder

RULE = "Rule {} of the house is kept by all who work in hall {}.\n"


@pytest.fixture
def run(docs: Path, read_folder: ReadFolder) -> Path:
    """A run that read good.md, a.md, a copy of it, and a zip."""
    (docs / "a.md").write_text(RULE.format(1, "one"))
    (docs / "copy of a.md").write_text(RULE.format(1, "ONE"))
    with zipfile.ZipFile(docs / "share.zip", "w") as archive:
        archive.writestr("b.md", RULE.format(2, "two") * 2)
    (docs / "link.md").symlink_to("a.md")
    stage = read_folder(docs).stage
    run = stage.parent
    stage.rename(run / "corpus")
    (run / "dataset").mkdir()
    rows = [
        TokenVerdict(
            source=name, split=split, num_tokens=9, num_used=9, num_dropped=0, num_repeated=0
        )
        for name, split in (("a.md", "train"), ("share.zip/b.md", "train"), ("good.md", "test"))
    ]
    (run / "dataset" / "ledger.jsonl").write_text(
        "".join(row.model_dump_json() + "\n" for row in rows)
    )
    (run / "bundle").mkdir()
    (run / "bundle" / "manifest.json").write_text("{}")
    return run


def test_diff_of_the_same_folder_is_empty(docs: Path, run: Path):
    changes = compare_folder(run, docs)
    assert (changes.added, changes.changed, changes.removed) == ((), (), ())
    assert changes.num_unchanged == 5


def test_diff_names_what_was_added_changed_and_removed(docs: Path, run: Path):
    (docs / "new.md").write_text("Something new that nobody has read yet.")
    (docs / "good.md").write_text("# Good\n\nThis document can always be read by nobody. \n")
    with zipfile.ZipFile(docs / "share.zip", "a") as archive:
        archive.writestr("c.md", "One more file.")
    (docs / "a.md").unlink()
    changes = compare_folder(run, docs)
    assert changes.added == ("new.md",)
    assert changes.changed == ("good.md", "share.zip")
    assert changes.removed == ("a.md",)


def test_diff_takes_a_file_that_was_only_touched_as_unchanged(docs: Path, run: Path):
    (docs / "a.md").touch()
    assert compare_folder(run, docs).changed == ()


def test_diff_refuses_a_folder_that_is_no_run(docs: Path, tmp_path: Path):
    with pytest.raises(DocumentsError, match="no ledger") as caught:
        compare_folder(tmp_path, docs)
    assert caught.value.why and caught.value.fix


def test_where_finds_a_file_by_its_bytes_under_any_name(run: Path, tmp_path: Path):
    (tmp_path / "other name.txt").write_text(RULE.format(2, "two") * 2)
    (use,) = find_uses(tmp_path / "other name.txt", run.parent)
    assert (use.path, use.is_same, use.splits) == ("share.zip/b.md", True, ("train",))
    assert use.is_trained_on and use.bundle == str(run / "bundle")


def test_where_says_what_stands_for_a_duplicate(docs: Path, run: Path):
    (use,) = find_uses(docs / "copy of a.md", run.parent)
    assert (use.verdict, use.duplicate_of, use.splits) == ("duplicate", "a.md", ("train",))


def test_where_knows_a_file_that_is_gone_by_its_name(docs: Path, run: Path):
    (docs / "good.md").unlink()
    (use,) = find_uses(docs / "good.md", run.parent)
    assert (use.is_same, use.splits, use.is_trained_on) == (False, ("test",), False)


def test_bundle_from_before_the_documents_changed_is_not_named(docs: Path, run: Path):
    # oracle: the ledger is written anew when documents are read again, the bundle only at the end
    later = (run / "bundle" / "manifest.json").stat().st_mtime + 60
    os.utime(run / "corpus" / "ledger.jsonl", (later, later))
    (use,) = find_uses(docs / "a.md", run.parent)
    assert (use.bundle, use.splits) == ("", ())


def test_where_names_the_option_when_there_are_no_runs(tmp_path: Path):
    with pytest.raises(DocumentsError, match="is not there") as caught:
        find_uses(tmp_path / "a.md", tmp_path / "runs")
    assert "--runs" in caught.value.fix


def test_verb_prints_both_for_people_and_for_programs(docs: Path, run: Path):
    (docs / "new.md").write_text("Something new that nobody has read yet.")
    call = CliRunner().invoke
    assert (
        "Added      1\n           new.md\n" in call(documents, ["diff", str(run), str(docs)]).output
    )
    body = json.loads(call(documents, ["diff", str(run), str(docs), "--json"]).output)
    assert body["added"] == ["new.md"] and body["num_unchanged"] == 5
    ask = ["where", str(docs / "a.md"), "--runs", str(run.parent)]
    said = call(documents, ask).output
    assert "these bytes" in said and "trained on" in said and "bundle" in said
    assert json.loads(call(documents, [*ask, "--json"]).output)["uses"][0]["trained_on"] is True
    nowhere = call(documents, ["where", "unknown.md", "--runs", str(run.parent)]).output
    assert nowhere.startswith("Nowhere")
