"""Plain text as a dataset for `pretrain`: every token is a label, documents cross borders of packs.

A corpus of any size is tokenized once, in bounded memory. What was written is committed now and
then with the place in the corpus that it reaches to, so that a killed stage goes on from there. How
a corpus is divided is the same as for `tune` (`divide.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.dataset.divide import (
    Piece,
    cut_pieces,
    cut_whole,
    draw_split,
    is_large,
    is_long,
)
from appliance.dataset.encoder import HELD_OUT_TOKENS, Encoder
from appliance.dataset.general_text import PURPOSES, write_general
from appliance.dataset.maker import Limits, set_limits
from appliance.dataset.mixing import count_read, list_sources, write_sources
from appliance.dataset.shards import check_stop, divide_document, read_shards
from appliance.dataset.split import SPLITS, SplitName
from appliance.dataset.terms import write_terms
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.dataset.tokens import Marks, SplitWriter
from appliance.dataset.units import Unit
from appliance.events import Progress
from appliance.files import write_text
from appliance.recipe import DatasetRecipe, PretrainRecipe
from appliance.rundir import StageFolder
from appliance.values import (
    BaseSpec,
    Corpus,
    Dataset,
    Document,
    GeneralSource,
    Split,
    TextDataset,
    TokenVerdict,
)

COMMIT_CHARACTERS = 8_000_000
"""Text between two commits: what a kill may cost, a few seconds of work."""

CURSOR = "cursor.json"

CutDocument = Callable[[Document], list[Piece]]


def build_text_dataset(
    corpus: Corpus,
    base: BaseSpec,
    general: GeneralSource,
    recipe: DatasetRecipe,
    pretrain: PretrainRecipe,
    stage: StageFolder,
) -> TextDataset:
    """Tokenize a corpus for next-token training.

    Args:
        corpus: what `read_corpus` returned.
        base: whose tokenizer decides how text becomes tokens.
        general: where general text comes from.
        recipe: shares and seed.
        pretrain: how many terms are asked for, and which sources are told apart.
        stage: where the splits are written.

    Returns:
        The dataset, with general text for replay and for judging, and terms of the domain.

    Raises:
        DocumentsError: there is too little text.
        BaseModelError: the tokenizer of the base cannot be used.
        InterruptedRun: the person wants to stop.
    """
    tokenizer = load_tokenizer(Path(base.folder))
    documents_file = stage.open(corpus.documents_file)
    cut = choose_cut(corpus, tokenizer, base, recipe, stage)
    encoder = Encoder(tokenizer=tokenizer, window=min(base.context, HELD_OUT_TOKENS))
    splits, num_documents = _encode_corpus(documents_file, cut, encoder, base, stage)
    check_stop(stage)
    source = stage.open(general.documents_file) if general.documents_file else None
    replay, held_out = (
        write_general(purpose, encoder, base.vocab_size, stage, source=source)
        for purpose in PURPOSES
    )
    terms = write_terms(
        documents_file, cut, tokenizer, base.vocab_size, pretrain.num_terms, stage.folder / "terms"
    )
    write_text(stage.folder / "questions.jsonl", "")
    values = {n: _describe(n, marks, num_documents[n], stage) for n, marks in splits.items()}
    sources, num_read = list_sources(pretrain.mix, pretrain.order), values["train"].num_tokens
    if sources:
        write_sources(documents_file, sources, stage.folder / "sources.bin")
        num_read = count_read(stage.folder / "train", stage.folder / "sources.bin", pretrain.mix)
    return TextDataset(
        dataset=Dataset(
            **values,
            questions_file=stage.locate("questions.jsonl"),
            ledger_file=stage.locate("ledger.jsonl"),
            num_questions=0,
            num_tokens_dropped=0,
            num_tokens_repeated=0,
            longest_example=encoder.window,
            sha256=_hash(stage.folder),
            replay=replay,
            general=held_out,
        ),
        terms=_describe("terms", terms, 0, stage),
        sources_file=stage.locate("sources.bin") if sources else "",
        num_read=num_read,
    )


def choose_cut(
    corpus: Corpus,
    tokenizer: TextTokenizer,
    base: BaseSpec,
    recipe: DatasetRecipe,
    stage: StageFolder,
) -> CutDocument:
    """How a document becomes pieces: by its units in a small corpus, whole in a large one."""
    limits = set_limits(base, recipe)
    if is_large(corpus):
        return lambda document: _cut_of_many(document, corpus, tokenizer, limits, recipe)
    [shard] = read_shards(corpus, tokenizer, limits, recipe, stage)
    units, names = shard.units, shard.names
    by_document: dict[int, list[Unit]] = {}
    for unit in units:
        by_document.setdefault(unit.document, []).append(unit)
    return lambda document: cut_pieces(document, by_document.get(document.number, []), names)


def _cut_of_many(
    document: Document,
    corpus: Corpus,
    tokenizer: TextTokenizer,
    limits: Limits,
    recipe: DatasetRecipe,
) -> list[Piece]:
    """Pieces of a document of a large corpus."""
    size = corpus.num_characters
    if not is_long(document):
        return cut_whole(document, draw_split(document, recipe, size))
    return cut_pieces(document, *divide_document(document, tokenizer, limits, recipe, size))


def _encode_corpus(
    documents_file: Path, cut: CutDocument, encoder: Encoder, base: BaseSpec, stage: StageFolder
) -> tuple[dict[SplitName, Marks], dict[SplitName, int]]:
    """Write all splits and the ledger, going on from the last commit.

    Returns:
        Marks and documents of every split.
    """
    cursor = _read_cursor(stage.folder / CURSOR)
    total = documents_file.stat().st_size
    num_documents = dict(cursor.num_documents)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                SplitWriter(stage.folder / name, base.vocab_size, cursor.marks[name])
            )
            for name in SPLITS
        }
        (stage.folder / "ledger.jsonl").touch()
        ledger = stack.enter_context((stage.folder / "ledger.jsonl").open("r+b"))
        ledger.truncate(cursor.ledger_bytes)
        ledger.seek(cursor.ledger_bytes)
        lines = stack.enter_context(documents_file.open("rb"))
        lines.seek(cursor.corpus_bytes)
        due = 0
        for line in lines:
            document = Document.model_validate_json(line)
            for name, num_tokens in _write_document(document, cut, encoder, writers):
                num_documents[name] += 1
                verdict = TokenVerdict(
                    source=document.source,
                    split=name,
                    num_tokens=num_tokens,
                    num_used=num_tokens,
                    num_dropped=0,
                    num_repeated=0,
                )
                ledger.write(verdict.model_dump_json().encode() + b"\n")
            due += len(line)
            place = lines.tell()
            if due < COMMIT_CHARACTERS and place < total:
                continue
            due = 0
            ledger.flush()
            cursor = Cursor(
                corpus_bytes=place,
                ledger_bytes=ledger.tell(),
                marks={name: writer.commit() for name, writer in writers.items()},
                num_documents=dict(num_documents),
            )
            write_text(stage.folder / CURSOR, json.dumps(asdict(cursor)))
            stage.on_event(
                Progress(stage=stage.name, done=place >> 20, total=total >> 20, unit="MiB")
            )
            check_stop(stage)
        marks = {name: writer.marks for name, writer in writers.items()}
        for writer in writers.values():
            writer.finish()
    return marks, num_documents


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """How far the corpus has been written, for certain.

    Attributes:
        corpus_bytes: of the file of documents.
        ledger_bytes: of the ledger that belong to it.
        marks: of every split.
        num_documents: of every split.
    """

    corpus_bytes: int
    ledger_bytes: int
    marks: dict[SplitName, Marks]
    num_documents: dict[SplitName, int]


def _read_cursor(path: Path) -> Cursor:
    if not path.exists():
        nothing = {name: Marks() for name in SPLITS}
        return Cursor(
            corpus_bytes=0, ledger_bytes=0, marks=nothing, num_documents=dict.fromkeys(SPLITS, 0)
        )
    body = json.loads(path.read_text())
    marks = {name: Marks(**body["marks"][name]) for name in SPLITS}
    return Cursor(**body | {"marks": marks})


def _write_document(
    document: Document, cut: CutDocument, encoder: Encoder, writers: dict[SplitName, SplitWriter]
) -> Iterator[tuple[SplitName, int]]:
    """Write the parts of a document.

    Yields:
        Every split that got a part, with its tokens.
    """
    counts: dict[SplitName, int] = {}
    for piece in cut(document):
        encode = encoder.encode_whole if piece.split == "train" else encoder.encode_windows
        for example in encode(piece.text, document.number):
            writers[piece.split].append(example)
            counts[piece.split] = counts.get(piece.split, 0) + sum(example.supervised)
    yield from counts.items()


def _describe(name: str, marks: Marks, num_documents: int, stage: StageFolder) -> Split:
    return Split(
        folder=stage.locate(name),
        num_documents=num_documents,
        num_examples=marks.num_examples,
        num_tokens=marks.num_tokens,
        num_labels=marks.num_labels,
    )


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (*SPLITS, *PURPOSES, "terms"):
        for file in ("tokens.bin", "supervised.bin", "examples.npy"):
            with (folder / name / file).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
