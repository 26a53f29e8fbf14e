"""Plain text as a dataset: every token accounted for, the same split as tune, restartable."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from appliance.dataset import divide, encoder, text
from appliance.dataset.build import build_dataset
from appliance.dataset.general_text import read_folder, read_sample
from appliance.dataset.terms import choose_terms
from appliance.dataset.tokens import open_token_file
from appliance.errors import InterruptedRun
from appliance.recipe import DatasetRecipe, PretrainRecipe
from appliance.rundir import StageFolder
from appliance.values import Corpus, GeneralSource
from tests.conftest import ROOT

from .conftest import make_document
from .test_build import make_corpus

WORDS = ["valve", "gauge", "torque", "flange", "gasket", "bearing", "sensor", "manifold"]


def write_documents(run: Path, documents) -> Corpus:
    (run / "corpus").mkdir(parents=True)
    lines = "".join(document.model_dump_json() + "\n" for document in documents)
    (run / "corpus" / "documents.jsonl").write_text(lines)
    return Corpus(
        documents_file="corpus/documents.jsonl",
        ledger_file="",
        num_files=len(documents),
        num_used=len(documents),
        num_duplicates=0,
        num_skipped=0,
        num_documents=len(documents),
        num_characters=sum(len(document.text) for document in documents),
        num_secrets_masked=0,
        sha256="",
    )


def open_stage(run: Path, should_stop=lambda: False, name="text") -> StageFolder:
    (run / name).mkdir(exist_ok=True)
    return StageFolder(
        name=name,
        folder=run / name,
        run=run,
        on_event=lambda event: None,
        should_stop=should_stop,
    )


def build(run, corpus, base, should_stop=lambda: False):
    stage = open_stage(run, should_stop)
    return text.build_text_dataset(
        corpus, base, GeneralSource(), DatasetRecipe(), PretrainRecipe(), stage
    )


def make_long_corpus(num_documents=40, seed=2):
    rng = random.Random(seed)
    return [
        make_document(
            n, "\n\n".join(" ".join(rng.choices(WORDS, k=60)) + f" {n}." for _ in range(8))
        )
        for n in range(num_documents)
    ]


def test_every_token_of_the_corpus_is_in_one_split(tmp_path, base, tokenizer):
    documents = make_corpus()

    made = build(tmp_path, write_documents(tmp_path, documents), base)

    read = []
    for split in (made.dataset.train, made.dataset.valid, made.dataset.test):
        file = open_token_file(tmp_path / split.folder)
        read += file.tokens_N[file.supervised_N.astype(bool)].tolist()
        assert split.num_labels == int(file.count_labels().sum())
    texts = [d.text for d in documents]
    turns = [t.content for d in documents for c in d.conversations for t in c]
    decoded = tokenizer.plain.decode(read)
    wanted = sorted("".join(texts + turns).replace("\n", "").replace(" ", ""))
    assert sorted(decoded.replace("\n", "").replace(" ", "")) == wanted


def test_bytes_of_examples_are_the_bytes_of_their_text(tmp_path, base):
    documents = [
        make_document(n, f"# Größe {n}\n\n" + "Der Prüfer mißt äußerst genau. " * 120)
        for n in range(12)
    ]

    made = build(tmp_path, write_documents(tmp_path, documents), base)

    splits = [made.dataset.train, made.dataset.valid, made.dataset.test]
    counted = [open_token_file(tmp_path / s.folder).examples_E5[:, 4].sum() for s in splits]
    assert sum(counted) == sum(len(d.text.encode()) for d in documents)


@pytest.mark.parametrize("large", [False, True])
def test_what_pretraining_reads_never_judges_tuning(tmp_path, base, request, large):
    if large:
        request.getfixturevalue("as_if_large")
    corpus = write_documents(tmp_path, make_long_corpus())

    made = build(tmp_path, corpus, base)
    tuned = build_dataset(corpus, base, DatasetRecipe(), open_stage(tmp_path, name="dataset"))

    def list_documents(folder):
        return set(open_token_file(tmp_path / folder).examples_E5[:, 2].tolist())

    read = list_documents(made.dataset.train.folder)
    assert len(read) > 20
    assert not read & list_documents(tuned.test.folder)
    assert not read & list_documents(tuned.valid.folder)
    assert list_documents(made.dataset.test.folder) == list_documents(tuned.test.folder)


@pytest.mark.parametrize("stop_at", [3, -1])
def test_stopped_tokenization_goes_on_and_ends_with_the_same_bits(
    tmp_path, base, as_if_large, stop_at
):
    documents, asked = make_long_corpus(), []
    straight = build(
        tmp_path / "straight",
        write_documents(tmp_path / "straight", documents),
        base,
        lambda: asked.append(1),
    )
    corpus = write_documents(tmp_path / "stopped", documents)
    left = stop_at if stop_at > 0 else len(asked)

    def stop_then() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    with pytest.raises(InterruptedRun):
        build(tmp_path / "stopped", corpus, base, stop_then)
    cursor = json.loads((tmp_path / "stopped" / "text" / "cursor.json").read_text())
    with (tmp_path / "stopped" / "text" / "train" / "tokens.bin").open("ab") as torn:
        torn.write(b"half an exam")  # what a crash after the commit leaves

    resumed = build(tmp_path / "stopped", corpus, base)

    assert cursor["corpus_bytes"] > 0
    assert resumed == straight, "counts and the hash over all files"
    ledgers = [
        (tmp_path / name / "text/ledger.jsonl").read_text() for name in ("straight", "stopped")
    ]
    assert ledgers[0] == ledgers[1]


def test_text_without_ends_of_lines_is_divided_all_the_same():
    whole = "x" * (2 * encoder.PART_CHARACTERS + 7)

    parts = list(encoder.divide_text(whole))

    assert "".join(parts) == whole
    assert max(map(len, parts)) == encoder.PART_CHARACTERS


def test_terms_are_frequent_words_that_general_text_lacks():
    texts = ["a torqueplate and the house " * 5, "a flangebolt "]

    assert choose_terms(texts, ["The house stood."]) == {"torqueplate"}


def test_terms_are_asked_for_in_held_out_documents(tmp_path, base, tokenizer):
    made = build(tmp_path, write_documents(tmp_path, make_long_corpus()), base)

    terms = open_token_file(tmp_path / made.terms.folder)

    held_out = set(open_token_file(tmp_path / made.dataset.test.folder).examples_E5[:, 2].tolist())
    assert made.terms.num_examples >= 3
    assert set(terms.examples_E5[:, 2].tolist()) <= held_out
    for start, length, *_ in terms.examples_E5:
        place = slice(start, start + length)
        asked = terms.tokens_N[place][terms.supervised_N[place].astype(bool)]
        assert tokenizer.plain.decode(asked.tolist()).strip() in WORDS


def test_general_text_that_judges_is_never_replayed(tmp_path):
    assert not set(read_sample("replay")) & set(read_sample("held_out"))
    documents = [
        make_document(n, f"text {n}").model_copy(update={"family": n // 2}) for n in range(400)
    ]
    file = tmp_path / "documents.jsonl"
    file.write_text("".join(d.model_dump_json() + "\n" for d in documents))

    replayed, judged = (
        {int(t.split()[1]) // 2 for t in read_folder(file, purpose)}
        for purpose in ("replay", "held_out")
    )

    assert len(replayed | judged) == 200
    assert not replayed & judged, "families stay together"
    assert 5 < len(judged) < 50


MEASURE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.dataset.test_text import tokenize_generated

def read_kib(field):  # of this program alone; rusage begins with the peak of whoever forked it
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])

before = read_kib("VmRSS")
tokenize_generated(Path(sys.argv[1]), int(sys.argv[2]))
print(read_kib("VmHWM") - before)
"""


def tokenize_generated(run: Path, num_bytes: int) -> int:
    """Tokenize so many bytes of generated documents; the number of tokens."""
    from appliance.bases.catalogue import find_bases

    rng = np.random.default_rng(1)
    (run / "corpus").mkdir(parents=True)
    number, written = 0, 0
    with (run / "corpus" / "documents.jsonl").open("w") as file:
        while written < num_bytes:
            body = " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=1500))
            document = make_document(number, body)
            written += file.write(document.model_dump_json() + "\n")
            number += 1
    corpus = Corpus(
        documents_file="corpus/documents.jsonl",
        ledger_file="",
        num_files=number,
        num_used=number,
        num_duplicates=0,
        num_skipped=0,
        num_documents=number,
        num_characters=max(num_bytes, divide.SMALL_CHARACTERS + 1),
        num_secrets_masked=0,
        sha256="",
    )
    return build(run, corpus, find_bases("embedded").specs[0]).dataset.train.num_tokens


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Four times the text may cost 30 % more at most: the allocator's noise."""

    def measure(megabytes):
        run = tmp_path / str(megabytes)
        command = [sys.executable, "-c", MEASURE, str(run), str(megabytes * 10**6), str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        return int(done.stdout.split()[-1])

    assert 0 < measure(20) < 1.3 * measure(5)
