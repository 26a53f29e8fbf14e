"""A corpus, a shard at a time: documents, their units, and the split of each unit.

A small corpus is one shard, divided with care. A large one comes in shards of some megabytes, so
that its size is a matter of time and not of memory; how it is divided stands in `divide.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.dataset.blocks import split_blocks
from appliance.dataset.divide import draw_units, is_large, is_long
from appliance.dataset.maker import Limits
from appliance.dataset.split import SplitName, assign_splits
from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.units import DocumentBlocks, Unit, make_units
from appliance.errors import InterruptedRun
from appliance.events import Note, Progress
from appliance.recipe import DatasetRecipe
from appliance.rundir import StageFolder
from appliance.values import Corpus, Document

SHARD_CHARACTERS = 2_000_000
"""Of a large corpus, cut and divided at a time; a longer document is a shard of its own."""

_MIN_DOCUMENTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Some documents of a corpus, cut and divided.

    Attributes:
        documents: by number.
        units: numbered through the whole corpus.
        names: the split of every unit, by its number.
        end_bytes: place behind them in the file of documents.
    """

    documents: dict[int, Document]
    units: list[Unit]
    names: dict[int, SplitName]
    end_bytes: int

    def list_split(self, name: SplitName) -> list[Unit]:
        """Units of one split."""
        return [unit for unit in self.units if self.names[unit.number] == name]


def read_shards(
    corpus: Corpus,
    tokenizer: TextTokenizer,
    limits: Limits,
    recipe: DatasetRecipe,
    stage: StageFolder,
    *,
    start_bytes: int = 0,
    num_units: int = 0,
) -> Iterator[Shard]:
    """Cut and divide a corpus.

    Args:
        corpus: what `read_corpus` returned.
        tokenizer: of the base.
        limits: lengths.
        recipe: shares and seed.
        stage: gets the progress.
        start_bytes: place in the file of documents to go on from.
        num_units: before that place.

    Yields:
        One shard for a small corpus.

    Raises:
        DocumentsError: there is too little text.
        InterruptedRun: the person wants to stop.
    """
    path = stage.open(corpus.documents_file)
    if start_bytes >= path.stat().st_size:
        return
    if not is_large(corpus):
        documents = list(iterate_documents(path))
        units = cut_documents(documents, tokenizer, limits, stage)
        names = assign_splits(
            units, valid_share=recipe.valid_share, test_share=recipe.test_share, seed=recipe.seed
        )
        by_number = {document.number: document for document in documents}
        yield Shard(documents=by_number, units=units, names=names, end_bytes=path.stat().st_size)
        return
    for batch, end_bytes in _read_batches(path, start_bytes):
        shard = _divide_batch(batch, end_bytes, num_units, corpus, tokenizer, limits, recipe)
        num_units += len(shard.units)
        check_stop(stage)
        total = path.stat().st_size
        stage.on_event(
            Progress(stage=stage.name, done=end_bytes >> 20, total=total >> 20, unit="MiB")
        )
        yield shard


def _read_batches(path: Path, start_bytes: int) -> Iterator[tuple[list[Document], int]]:
    """Documents of at most a shard together, and the place behind them."""
    batch: list[Document] = []
    size = 0
    with path.open("rb") as lines:
        lines.seek(start_bytes)
        end_bytes = start_bytes
        for line in lines:
            document = Document.model_validate_json(line)
            added = document.num_characters
            if batch and size + added > SHARD_CHARACTERS:
                yield batch, end_bytes
                batch, size = [], 0
            batch.append(document)
            size += added
            end_bytes += len(line)
    if batch:
        yield batch, end_bytes


def _divide_batch(
    batch: Sequence[Document],
    end_bytes: int,
    num_units: int,
    corpus: Corpus,
    tokenizer: TextTokenizer,
    limits: Limits,
    recipe: DatasetRecipe,
) -> Shard:
    units: list[Unit] = []
    names: dict[int, SplitName] = {}
    for document in batch:
        cut, drawn = divide_document(document, tokenizer, limits, recipe, corpus.num_characters)
        first = num_units + len(units)
        units += [
            replace(unit, number=unit.number + first, family=unit.family + first) for unit in cut
        ]
        names |= {number + first: name for number, name in drawn.items()}
    return Shard(
        documents={document.number: document for document in batch},
        units=units,
        names=names,
        end_bytes=end_bytes,
    )


def divide_document(
    document: Document,
    tokenizer: TextTokenizer,
    limits: Limits,
    recipe: DatasetRecipe,
    num_characters: int,
) -> tuple[list[Unit], dict[int, SplitName]]:
    """Units of one document of a large corpus, and the split of each.

    Args:
        document: any.
        tokenizer: of the base.
        limits: lengths.
        recipe: shares and seed.
        num_characters: of the whole corpus.
    """
    units = make_units([_cut(document, tokenizer, limits)], by_section=is_long(document))
    return units, draw_units(document, units, recipe, num_characters)


def cut_documents(
    documents: Sequence[Document], tokenizer: TextTokenizer, limits: Limits, stage: StageFolder
) -> list[Unit]:
    """Units of all documents; sections where there are hardly any documents.

    Raises:
        InterruptedRun: the person wants to stop.
    """
    cut: list[DocumentBlocks] = []
    for done, document in enumerate(documents, start=1):
        check_stop(stage)
        cut.append(_cut(document, tokenizer, limits))
        stage.on_event(
            Progress(stage=stage.name, done=done, total=len(documents), unit="documents")
        )
    units = make_units(cut, by_section=False)
    if len({unit.family for unit in units}) >= _MIN_DOCUMENTS:
        return units
    stage.on_event(
        Note(
            text=f"only {len(documents)} document{'s' if len(documents) != 1 else ''}: "
            "training and test were divided by sections, so the verdict is about sections not "
            "seen, not about documents not seen"
        )
    )
    return make_units(cut, by_section=True)


def _cut(document: Document, tokenizer: TextTokenizer, limits: Limits) -> DocumentBlocks:
    block_tokens = max(8, limits.passage * 3 // 4)
    blocks = split_blocks(document.text, document.title, tokenizer, block_tokens)
    counts = [
        sum(tokenizer.count([turn.content for turn in turns])) for turns in document.conversations
    ]
    return DocumentBlocks(
        document=document, blocks=tuple(blocks), conversation_tokens=tuple(counts)
    )


def iterate_documents(path: Path) -> Iterator[Document]:
    """All documents of a corpus, one in memory at a time."""
    with path.open("rb") as lines:
        for line in lines:
            yield Document.model_validate_json(line)


def check_stop(stage: StageFolder) -> None:
    """Leave when the person wants to.

    Raises:
        InterruptedRun: they do.
    """
    if stage.should_stop():
        raise InterruptedRun(
            "stopped while the dataset was built",
            why="the person asked for it",
            fix="run the same command again",
        )
