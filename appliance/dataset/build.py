"""A corpus becomes a dataset: three splits of examples, held-out questions, and a token ledger.

The steps are elsewhere (shards, examples, questions, writer). This file puts them in order, a shard
of the corpus at a time, and checks that the ledger balances.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from appliance.dataset.canaries import make_canaries, make_example
from appliance.dataset.divide import is_large
from appliance.dataset.encoder import HELD_OUT_TOKENS, Encoder
from appliance.dataset.examples import make_split, make_strangers
from appliance.dataset.general_text import write_general
from appliance.dataset.maker import Account, Kit, set_limits
from appliance.dataset.pairing.refusals import list_unanswered
from appliance.dataset.questions import choose_questions
from appliance.dataset.shards import Shard, iterate_documents, read_shards
from appliance.dataset.split import SPLITS, SplitName
from appliance.dataset.template import ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.dataset.units import Unit
from appliance.dataset.writer import LEDGER, DatasetWriter
from appliance.errors import DocumentsError
from appliance.recipe import DatasetRecipe
from appliance.rundir import StageFolder
from appliance.units import MIB
from appliance.values import (
    BaseSpec,
    Corpus,
    Dataset,
    Document,
    MadePair,
    MadePairs,
    Split,
    TokenVerdict,
)

QUESTIONS, SOURCES = "questions.jsonl", "sources.json"

GROUP_TOKENS = 500_000
"""Of a large corpus, made into examples at a time: what a long document may take in memory."""

GENERAL_TOKENS = 4_096
"""General text that tells what is forgotten.

Source: rise of the loss on the first 2 k, 8 k and 30 k tokens after the sample was tuned: 26.5,
28.5 and 26.8 %. November 2026.
"""

REPLAY_SHARE = 0.3
"""General text that is at hand to be read again, as a part of the training split."""


def build_dataset(
    corpus: Corpus, base: BaseSpec, recipe: DatasetRecipe, stage: StageFolder
) -> Dataset:
    """Make the training examples of a corpus for one base model.

    Args:
        corpus: what `read_corpus` returned.
        base: whose tokenizer, chat template and context decide how text becomes tokens.
        recipe: lengths, shares, pairs and seed.
        stage: where the splits, questions.jsonl and ledger.jsonl are written.

    Returns:
        The dataset: counts, and where its files are.

    Raises:
        DocumentsError: there is too little text.
        BaseModelError: the tokenizer or chat template of the base cannot be used.
        InterruptedRun: the person wants to stop.
    """
    return build_with_pairs(corpus, base, recipe, MadePairs(), stage)


def build_with_pairs(
    corpus: Corpus, base: BaseSpec, recipe: DatasetRecipe, made: MadePairs, stage: StageFolder
) -> Dataset:
    """Make the training examples of a corpus, with pairs that the base wrote among them.

    Args:
        corpus: as for `build_dataset`.
        base: as for `build_dataset`.
        recipe: as for `build_dataset`.
        made: pairs about the documents to train on; none if the base was not asked.
        stage: as for `build_dataset`.

    Returns:
        What `build_dataset` returns.

    Raises:
        ApplianceError: what `build_dataset` raises.
    """
    tokenizer = load_tokenizer(Path(base.folder))
    limits = set_limits(base, recipe)
    kit = Kit(
        tokenizer=tokenizer,
        template=ChatTemplate(load_chat_template(Path(base.folder)), tokenizer),
        limits=limits,
        generated=_read_pairs(made, stage),
    )
    in_shards = is_large(corpus)
    if in_shards:  # what nothing answers cannot be told from a part of the corpus
        kit = replace(kit, limits=replace(limits, refusal_share=0.0))
    with DatasetWriter(stage.folder, base.vocab_size) as writer:
        start, num_units = writer.cursor.corpus_bytes, writer.cursor.num_units
        for shard in read_shards(
            corpus, tokenizer, limits, recipe, stage, start_bytes=start, num_units=num_units
        ):
            _write_shard(shard, kit, writer, GROUP_TOKENS if in_shards else None)
            writer.commit(shard.end_bytes, len(shard.units))
        if in_shards:
            _write_strangers(replace(kit, limits=limits), writer, corpus, stage)
        canaries = make_canaries(recipe.canaries, recipe.seed)
        first = writer.cursor.num_units
        writer.append(
            "train",
            (
                make_example(canary.frame, canary.code, tokenizer, number)
                for number, canary in enumerate(canaries, start=first)
            ),
        )
        candidates, sources = writer.finish()
    (stage.folder / SOURCES).write_text(json.dumps(sources), encoding="utf-8")
    questions = choose_questions(candidates, recipe.system)
    lines = "".join(question.model_dump_json() + "\n" for question in questions)
    (stage.folder / QUESTIONS).write_text(lines, encoding="utf-8")
    done = _describe(writer, len(questions), stage)
    return done.model_copy(update=_write_general(done, tokenizer, base, stage))


def _write_shard(shard: Shard, kit: Kit, writer: DatasetWriter, group_tokens: int | None) -> None:
    """Examples, origins, questions and ledger of a shard.

    Args:
        shard: cut and divided.
        kit: what turns units into examples.
        writer: of the dataset.
        group_tokens: made into examples at a time; None for all.
    """
    accounts: dict[tuple[int, SplitName], Account] = {}
    for name in SPLITS:
        units = shard.list_split(name)
        writer.cursor.tallies[name].num_units += len(units)
        for group in _group(units, group_tokens):
            made = make_split(group, shard.documents, kit, name)
            writer.append(name, made.examples)
            for number, account in made.accounts.items():
                accounts.setdefault((number, name), Account()).add(account)
            if name == "test":
                writer.ask(made.candidates)
                for unit in group:
                    writer.name_source(unit.number, shard.documents[unit.document].source)
    writer.settle(_settle(accounts, shard.documents))


def _group(units: Sequence[Unit], most: int | None) -> Iterator[list[Unit]]:
    """Units of at most so many tokens together; at least one group."""
    group: list[Unit] = []
    size = 0
    for unit in units:
        if group and most is not None and size + unit.num_tokens > most:
            yield group
            group, size = [], 0
        group.append(unit)
        size += unit.num_tokens
    yield group


def _write_strangers(kit: Kit, writer: DatasetWriter, corpus: Corpus, stage: StageFolder) -> None:
    """Questions that nothing in a large corpus answers, in their share as far as they go."""
    if not kit.limits.refusal_share:
        return
    path = stage.open(corpus.documents_file)
    unanswered = list_unanswered(iterate_documents(path), kit.limits.seed)
    for name in SPLITS:
        num_asked = writer.cursor.tallies[name].num_asked
        writer.append(name, make_strangers(unanswered, kit, name, num_asked))


def _read_pairs(made: MadePairs, stage: StageFolder) -> dict[int, list[MadePair]]:
    """Pairs that the base wrote, by number of their document."""
    pairs: dict[int, list[MadePair]] = defaultdict(list)
    if made.file:
        for line in stage.open(made.file).read_text(encoding="utf-8").splitlines():
            pair = MadePair.model_validate_json(line)
            pairs[pair.document].append(pair)
    return pairs


def _write_general(
    made: Dataset, tokenizer: TextTokenizer, base: BaseSpec, stage: StageFolder
) -> dict[str, Split]:
    """General text from the sample that ships: to judge by, and to read again."""
    encoder = Encoder(tokenizer=tokenizer, window=min(base.context, HELD_OUT_TOKENS))
    replayed = round(REPLAY_SHARE * made.train.num_tokens)
    vocab = base.vocab_size
    return {
        "general": write_general("held_out", encoder, vocab, stage, max_tokens=GENERAL_TOKENS),
        "replay": write_general("replay", encoder, vocab, stage, max_tokens=replayed),
    }


def _describe(writer: DatasetWriter, num_questions: int, stage: StageFolder) -> Dataset:
    cursor = writer.cursor
    values = {
        name: Split(
            folder=stage.locate(name),
            num_documents=cursor.tallies[name].num_units,
            num_examples=split.marks.num_examples,
            num_tokens=split.marks.num_tokens,
            num_labels=split.marks.num_labels,
            kinds=dict(sorted(cursor.tallies[name].kinds.items())),
        )
        for name, split in writer.splits.items()
    }
    _refuse_empty(values)
    return Dataset(
        **values,
        questions_file=stage.locate(QUESTIONS),
        ledger_file=stage.locate(LEDGER),
        num_questions=num_questions,
        num_tokens_dropped=cursor.num_dropped,
        num_tokens_repeated=cursor.num_repeated,
        longest_example=max(tally.longest for tally in cursor.tallies.values()),
        sha256=_hash_splits(stage.folder),
        sources_file=stage.locate(SOURCES),
    )


def _refuse_empty(splits: dict[SplitName, Split]) -> None:
    empty = [name for name, split in splits.items() if not split.num_labels]
    if empty:
        raise DocumentsError(
            "the documents cannot be divided for training, choices and verdict",
            why=f"nothing fell to {' and '.join(empty)}",
            fix="set another --set dataset.seed=NUMBER, or larger shares of "
            "dataset.valid_share and dataset.test_share",
        )


def _settle(
    accounts: dict[tuple[int, SplitName], Account], documents: dict[int, Document]
) -> list[TokenVerdict]:
    """A line for every document and split it has a part in; each must balance."""
    verdicts = []
    for (number, name), account in accounts.items():
        assert account.num_tokens == account.num_used + account.num_dropped, number
        verdicts.append(
            TokenVerdict(
                source=documents[number].source,
                split=name,
                num_tokens=account.num_tokens,
                num_used=account.num_used,
                num_dropped=account.num_dropped,
                num_repeated=account.num_repeated,
                reason="; ".join(sorted(account.reasons)),
                kinds=dict(sorted(account.kinds.items())),
            )
        )
    return sorted(verdicts, key=lambda verdict: (verdict.source, verdict.split))


def _hash_splits(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        for file in ("tokens.bin", "supervised.bin", "examples.npy"):
            with (folder / name / file).open("rb") as opened:
                while chunk := opened.read(MIB):
                    digest.update(chunk)
    return digest.hexdigest()
