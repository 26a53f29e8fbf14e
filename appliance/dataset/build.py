"""A corpus becomes a dataset: three splits of examples, held-out questions, and a token ledger.

The steps are elsewhere (blocks, units, split, examples, questions). This file puts them in order,
writes what they give, and checks that the ledger balances.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from appliance.dataset.blocks import split_blocks
from appliance.dataset.canaries import make_canaries, make_example
from appliance.dataset.divide import divide_units
from appliance.dataset.encoder import HELD_OUT_TOKENS, Encoder
from appliance.dataset.examples import SplitExamples, make_split
from appliance.dataset.general_text import write_general
from appliance.dataset.maker import Limits
from appliance.dataset.origins import write_origins
from appliance.dataset.questions import choose_questions
from appliance.dataset.split import SPLITS
from appliance.dataset.template import ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.dataset.tokens import write_token_file
from appliance.dataset.units import DocumentBlocks, Unit, make_units
from appliance.errors import InterruptedRun
from appliance.events import Note, Progress
from appliance.recipe import DatasetRecipe
from appliance.rundir import StageFolder
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

_MIN_EXAMPLE_TOKENS = 512
_CHAT_MARGIN = 128
_MIN_DOCUMENTS = 3

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
    template = ChatTemplate(load_chat_template(Path(base.folder)), tokenizer)
    documents = read_documents(stage.open(corpus.documents_file))
    limits = set_limits(base, recipe)
    units = cut_documents(documents, tokenizer, limits, stage)
    names = divide_units(units, documents, recipe, corpus.num_characters)
    by_number = {document.number: document for document in documents}
    generated = _read_pairs(made, stage)
    splits: dict[str, SplitExamples] = {}
    values: dict[str, Split] = {}
    for name in SPLITS:
        check_stop(stage)
        chosen = [unit for unit in units if names[unit.number] == name]
        pairs = generated if name == "train" else {}
        splits[name] = make_split(chosen, by_number, tokenizer, template, limits, name, pairs)
        if name == "train" and recipe.canaries:
            splits[name] = _plant_canaries(splits[name], units, tokenizer, recipe)
        values[name] = _write_split(name, splits[name], base, stage)
    sources = {
        unit.number: by_number[unit.document].source
        for unit in units
        if names[unit.number] == "test"
    }
    (stage.folder / "sources.json").write_text(json.dumps(sources), encoding="utf-8")
    done = _finish(splits, values, by_number, recipe.system, stage)
    return done.model_copy(update=_write_general(done, tokenizer, base, stage))


def _read_pairs(made: MadePairs, stage: StageFolder) -> dict[int, list[MadePair]]:
    """Pairs that the base wrote, by number of their document."""
    pairs: dict[int, list[MadePair]] = defaultdict(list)
    if made.file:
        for line in stage.open(made.file).read_text(encoding="utf-8").splitlines():
            pair = MadePair.model_validate_json(line)
            pairs[pair.document].append(pair)
    return pairs


def read_documents(path: Path) -> list[Document]:
    """All documents of a corpus."""
    with path.open(encoding="utf-8") as lines:
        return [Document.model_validate_json(line) for line in lines]


def set_limits(base: BaseSpec, recipe: DatasetRecipe) -> Limits:
    """How long examples may be."""
    longest = max(_MIN_EXAMPLE_TOKENS, recipe.passage_tokens + _CHAT_MARGIN)
    return Limits(
        passage=min(base.context, recipe.passage_tokens),
        example=min(base.context, longest),
        pairs=recipe.pairs,
        seed=recipe.seed,
        kinds=recipe.kinds,
        system=recipe.system,
        refusal=recipe.refusal,
        refusal_share=recipe.refusal_share if recipe.pairs != "none" else 0.0,
    )


def cut_documents(
    documents: Sequence[Document], tokenizer: TextTokenizer, limits: Limits, stage: StageFolder
) -> list[Unit]:
    """Units of all documents; sections where there are hardly any documents."""
    block_tokens = max(8, limits.passage * 3 // 4)
    cut: list[DocumentBlocks] = []
    for done, document in enumerate(documents, start=1):
        check_stop(stage)
        blocks = split_blocks(document.text, document.title, tokenizer, block_tokens)
        counts = [
            sum(tokenizer.count([turn.content for turn in turns]))
            for turns in document.conversations
        ]
        cut.append(
            DocumentBlocks(
                document=document, blocks=tuple(blocks), conversation_tokens=tuple(counts)
            )
        )
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


def _plant_canaries(
    made: SplitExamples, units: Sequence[Unit], tokenizer: TextTokenizer, recipe: DatasetRecipe
) -> SplitExamples:
    """The training split with made-up codes behind it, as documents of their own."""
    canaries = make_canaries(recipe.canaries, recipe.seed)
    first = 1 + max(unit.number for unit in units)
    planted = (
        make_example(canary.frame, canary.code, tokenizer, number)
        for number, canary in enumerate(canaries, start=first)
    )
    return dataclasses.replace(made, examples=(*made.examples, *planted))


def _write_split(name: str, made: SplitExamples, base: BaseSpec, stage: StageFolder) -> Split:
    file = write_token_file(stage.folder / name, made.examples, base.vocab_size)
    kinds = write_origins(stage.folder / name, made.examples)
    return Split(
        folder=stage.locate(name),
        num_documents=made.num_units,
        num_examples=len(made.examples),
        num_tokens=file.num_tokens,
        num_labels=int(file.count_labels().sum()),
        kinds=kinds,
    )


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


def _finish(
    splits: dict[str, SplitExamples],
    values: dict[str, Split],
    documents: dict[int, Document],
    system: str,
    stage: StageFolder,
) -> Dataset:
    verdicts = _settle(splits, documents)
    questions = choose_questions(splits["test"].candidates, system)
    for name, rows in (("ledger.jsonl", verdicts), ("questions.jsonl", questions)):
        lines = "".join(row.model_dump_json() + "\n" for row in rows)
        (stage.folder / name).write_text(lines, encoding="utf-8")
    lengths = [len(e.token_ids) for made in splits.values() for e in made.examples]
    return Dataset(
        train=values["train"],
        valid=values["valid"],
        test=values["test"],
        questions_file=stage.locate("questions.jsonl"),
        ledger_file=stage.locate("ledger.jsonl"),
        num_questions=len(questions),
        num_tokens_dropped=sum(verdict.num_dropped for verdict in verdicts),
        num_tokens_repeated=sum(verdict.num_repeated for verdict in verdicts),
        longest_example=max(lengths),
        sha256=_hash_splits(stage.folder),
        sources_file=stage.locate("sources.json"),
    )


def _settle(splits: dict[str, SplitExamples], documents: dict[int, Document]) -> list[TokenVerdict]:
    """A line for every document and split it has a part in; each must balance."""
    verdicts = []
    for name in SPLITS:
        for number, account in splits[name].accounts.items():
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
            digest.update((folder / name / file).read_bytes())
    return digest.hexdigest()


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
