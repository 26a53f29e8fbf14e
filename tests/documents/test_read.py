from __future__ import annotations

import io
import os
import signal
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from appliance.documents import converter as converter_module
from appliance.documents.converter import ConversionFailure, Converter
from appliance.documents.read import read_corpus
from appliance.documents.scrub import ScrubPolicy
from appliance.documents.walk import scan_folder
from appliance.errors import DocumentsError, InterruptedRun
from appliance.events import Progress
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder

from .conftest import ReadFolder, ask

KEY = "AKIA" + "IOSFODNN7EXAMPLE"


def make_bomb() -> bytes:
    """A docx of 300 kB whose one part unpacks to 300 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(300):
                part.write(b" " * 2**20)
    return buffer.getvalue()


def test_every_file_gets_exactly_one_verdict(docs: Path, read_folder: ReadFolder):
    (docs / "copy of good.txt").write_text("# good\nThis document can always be read by  anybody.")
    (docs / "empty.md").write_text("")
    (docs / "note.txt").write_text("A note about nothing that is long enough.")
    (docs / ".hidden.md").write_text("text")
    (docs / "link.md").symlink_to(docs / "good.md")
    os.mkfifo(docs / "pipe.md")
    (docs / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    reading = read_folder(docs)
    assert Counter(v.verdict for v in reading.verdicts.values()) == {
        "used": 2,
        "duplicate": 1,
        "skipped": 5,
    }
    assert set(reading.verdicts) == {path.name for path in docs.iterdir()}
    assert all(v.reason and v.fix for v in reading.verdicts.values() if v.verdict != "used")
    assert reading.verdicts["copy of good.txt"].reason == "it says the same as good.md"
    corpus = reading.corpus
    assert corpus.num_files == corpus.num_used + corpus.num_duplicates + corpus.num_skipped == 8
    assert corpus.num_characters == sum(v.num_characters for v in reading.verdicts.values())


def test_secrets_are_masked_and_counted_and_never_written(docs: Path, read_folder: ReadFolder):
    (docs / "handover.txt").write_text(f"The key is {KEY}.\npassword: Tr0ub4dor&3\n")
    reading = read_folder(docs)
    assert reading.corpus.num_secrets_masked == 2
    assert reading.verdicts["handover.txt"].num_secrets_masked == 2
    assert KEY not in reading.written and "Tr0ub4dor" not in reading.written
    assert reading.verdicts["handover.txt"].masked == {"api_key": 1, "password": 1}
    text = reading.documents["handover.txt"].text
    assert "The key is <API_KEY_1>." in text and "password: <PASSWORD_1>" in text


def test_secrets_stay_when_the_recipe_says_so(docs: Path, read_folder: ReadFolder):
    (docs / "handover.txt").write_text(f"The key is {KEY}, keep it well.\n")
    assert KEY in read_folder(docs, mask_secrets=False).documents["handover.txt"].text


def test_private_values_never_leave_the_converter(docs: Path):
    (docs / "handover.txt").write_text(f"{KEY} bob@example.org DE89370400440532013000")
    with Converter(lambda: False) as converter:
        reply = ask(
            converter, docs / "handover.txt", max_bytes=2**20, seconds=20.0, policy=ScrubPolicy()
        )
    assert isinstance(reply, dict)
    assert reply["masked"] == {"api_key": 1, "email": 1, "iban": 1}
    assert not any(value in repr(reply) for value in (KEY, "bob", "DE89", "3704"))


def test_same_value_has_the_same_number_in_all_documents(docs: Path, read_folder: ReadFolder):
    (docs / "a.txt").write_text("Write to ada@example.org or to bob@example.org today.")
    (docs / "b.txt").write_text("Or was it Bob@Example.org whom we asked yesterday?")
    (docs / "c.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "Whom do I ask?"},'
        ' {"role": "assistant", "content": "Ask bob@example.org, he knows it all."}]}\n'
    )
    documents = read_folder(docs).documents
    assert documents["a.txt"].text == "Write to <EMAIL_1> or to <EMAIL_2> today."
    assert "<EMAIL_2>" in documents["b.txt"].text
    assert "<EMAIL_2>" in documents["c.jsonl"].conversations[0][1].content


def test_numbers_go_on_when_the_converter_is_replaced(docs: Path):
    # oracle: the key of the marks outlives the process
    (docs / "mail.txt").write_text("Write to ada@example.org, she will know.")
    options = {"max_bytes": 2**20, "seconds": 20.0, "policy": ScrubPolicy()}
    with Converter(lambda: False) as converter:
        first = ask(converter, docs / "mail.txt", **options)
        process = converter._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert ask(converter, docs / "mail.txt", **options) == first


def test_events_hold_counts_and_no_names(docs: Path, read_folder: ReadFolder):
    (docs / "salaries_2025.txt").write_text("Nobody should read this name in a log.")
    reading = read_folder(docs)
    assert [(e.done, e.total) for e in reading.events if isinstance(e, Progress)] == [
        (1, 2),
        (2, 2),
    ]
    assert "salaries" not in repr(reading.events)


def test_reading_twice_gives_the_same_bytes(docs: Path, read_folder: ReadFolder):
    (docs / "a.csv").write_text("a,b\n1,x\n2,y\n")
    assert read_folder(docs).corpus == read_folder(docs).corpus


def test_hostile_files_never_end_the_job(docs: Path, read_folder: ReadFolder):
    (docs / "bomb.docx").write_bytes(make_bomb())
    (docs / "cut.docx").write_bytes(make_bomb()[:5000])
    (docs / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog")
    (docs / "deep.html").write_text("<div>" * 50_000 + "words from the deep " * 5)
    (docs / "nul.txt").write_bytes(b"Some \0words with \0zero bytes among them, few.")
    (docs / "only_nul.txt").write_bytes(b"\0" * 5000)
    (docs / "one_line.csv").write_text("x," * 2_500_000)
    (docs / "deep.json").write_text("[" * 100_000)
    (docs / "wide.txt").write_bytes("Breite Zeichen für alle Leute.".encode("utf-16"))
    reading = read_folder(docs)
    used = {name for name, verdict in reading.verdicts.items() if verdict.verdict == "used"}
    assert used == {"good.md", "deep.html", "nul.txt", "wide.txt"}
    assert reading.documents["wide.txt"].text == "Breite Zeichen für alle Leute."
    assert "more than its size" in reading.verdicts["bomb.docx"].reason


def test_large_file_is_skipped_with_its_setting(docs: Path, read_folder: ReadFolder):
    with (docs / "big.txt").open("wb") as handle:
        handle.truncate(2 * 2**20)
    verdict = read_folder(docs, max_file_mebibytes=1).verdicts["big.txt"]
    assert verdict.reason == "it has 2.0 MiB, at most 1 MiB are read"
    assert "documents.max_file_mebibytes=2" in verdict.fix


def test_nothing_readable_is_an_error_with_reasons(tmp_path: Path, read_folder: ReadFolder):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DocumentsError, match="no readable document") as caught:
        read_folder(folder)
    assert caught.value.why == "3 x it is a picture: no text is read from pictures"
    assert "text recognition" in caught.value.fix


def test_folder_that_changes_meanwhile_is_refused(docs: Path, tmp_path: Path):
    folder = scan_folder(docs)
    (docs / "late.md").write_text("came later")
    stage = StageFolder(
        name="documents",
        folder=tmp_path,
        run=tmp_path,
        on_event=lambda _: None,
        should_stop=lambda: False,
    )
    with pytest.raises(DocumentsError, match="changed while"):
        read_corpus(folder, DocumentsRecipe(), stage)


def test_stop_ends_between_files(docs: Path, read_folder: ReadFolder):
    with pytest.raises(InterruptedRun) as caught:
        read_folder(docs, should_stop=lambda: True)
    assert caught.value.why == "0 of 1 files were done"


def test_converter_replaces_a_process_that_died(docs: Path):
    options = {"max_bytes": 2**20, "seconds": 20.0, "policy": ScrubPolicy()}
    with Converter(lambda: False) as converter:
        assert isinstance(ask(converter, docs / "good.md", **options), dict)
        process = converter._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert isinstance(ask(converter, docs / "good.md", **options), dict)


def test_converter_gives_a_file_whose_reader_was_killed_to_another(docs: Path):
    killed: list[int] = []

    def kill_first() -> bool:  # asked when the file is with the reader
        process = converter._process
        if not killed and process is not None:
            killed.append(process.pid)
            process.kill()
        return False

    options = {"max_bytes": 2**20, "seconds": 20.0, "policy": ScrubPolicy()}
    with Converter(kill_first) as converter:
        assert isinstance(ask(converter, docs / "good.md", **options), dict)
        assert converter._process is not None
        assert [converter._process.pid] != killed
    assert len(killed) == 1


def test_converter_kills_a_reader_that_hangs(docs: Path, monkeypatch: pytest.MonkeyPatch):
    script = "import time; time.sleep(60)"  # stands for a library in an endless loop
    start = converter_module.subprocess.Popen

    def start_hanging(command: list[str], **options):
        return start([command[0], "-c", script], **options)

    monkeypatch.setattr(converter_module.subprocess, "Popen", start_hanging)
    began = time.monotonic()
    with Converter(lambda: False) as converter:
        reply = ask(converter, docs / "good.md", max_bytes=2**20, seconds=0.3, policy=ScrubPolicy())
    assert isinstance(reply, ConversionFailure)
    assert reply.reason == "reading took longer than 0.3 s"
    assert time.monotonic() - began < 5


def test_converter_survives_a_reader_that_wants_all_memory(docs: Path):
    (docs / "nested.json").write_text("[" + "[1]," * 1_500_000 + "1]")  # 6 MB, 130 MB as lists
    options = {"max_bytes": 2**30, "seconds": 30.0, "policy": ScrubPolicy()}
    with Converter(lambda: False, memory_bytes=64 * 2**20) as converter:
        reply = ask(converter, docs / "nested.json", **options)
        assert isinstance(reply, ConversionFailure)
        assert "memory" in reply.reason
        assert isinstance(ask(converter, docs / "good.md", **options), dict)


def test_real_handbook_is_read_whole(real_documents: Path, read_folder: ReadFolder):
    reading = read_folder(real_documents / "clef-handbook")
    assert reading.corpus.num_used >= 39
    assert 115_000 < reading.corpus.num_characters < 135_000  # measured by another reader: 124 kB
    text = "".join(document.text for document in reading.documents.values())
    assert "<td>" not in text and "**" not in text and "](" not in text
    assert "| More than 5 Years Experience | $120k | $100k |" in text
