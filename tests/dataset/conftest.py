"""Small corpora, the embedded base, and a dataset from both in one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.dataset import divide, shards, text
from appliance.dataset.build import build_dataset
from appliance.dataset.template import ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.events import Event
from appliance.recipe import DatasetRecipe, DocumentsRecipe
from appliance.rundir import StageFolder
from appliance.values import (
    BaseSpec,
    Corpus,
    Dataset,
    Document,
    HeldOutQuestion,
    TokenVerdict,
    Turn,
)

EMBEDDED = Path(__file__).resolve().parents[2] / "appliance" / "bases" / "embedded"


@dataclass(frozen=True, kw_only=True)
class Built:
    dataset: Dataset
    splits: dict[str, TokenFile]
    ledger: list[TokenVerdict]
    questions: list[HeldOutQuestion]
    documents: list[Document]
    events: list[Event]

    def texts(self, split: str, tokenizer: TextTokenizer, kind: int | None = None) -> list[str]:
        file = self.splits[split]
        return [
            tokenizer.chat.decode(
                file.tokens_N[start : start + length].tolist(), skip_special_tokens=False
            )
            for start, length, _, found, _ in file.examples_E5
            if kind is None or kind == found
        ]


Build = Callable[..., Built]


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return load_tokenizer(EMBEDDED)


@pytest.fixture(scope="session")
def template(tokenizer: TextTokenizer) -> ChatTemplate:
    return ChatTemplate(load_chat_template(EMBEDDED), tokenizer)


@pytest.fixture(scope="session")
def base() -> BaseSpec:
    config = json.loads((EMBEDDED / "config.json").read_text())
    return BaseSpec(
        name="embedded",
        folder=str(EMBEDDED),
        architecture="LlamaForCausalLM",
        model_type="llama",
        num_layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        intermediate_width=config["intermediate_size"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        head_width=config["head_dim"],
        vocab_size=config["vocab_size"],
        context=config["max_position_embeddings"],
        tied=False,
        num_parameters=1,
        weights_bytes=1,
        dtype="float16",
        licence="Apache-2.0",
        exportable=True,
        sha256="0" * 64,
    )


def make_document(number: int, text: str = "", conversations: Sequence = ()) -> Document:
    return Document(
        number=number,
        source=f"{number:03}.md",
        title=f"Guide {number}",
        text=text,
        conversations=tuple(
            tuple(Turn(role=role, content=content) for role, content in turns)
            for turns in conversations
        ),
    )


@pytest.fixture
def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds so low that a small corpus goes the way of a large one."""
    monkeypatch.setattr(divide, "SMALL_CHARACTERS", 0)
    monkeypatch.setattr(divide, "HELD_OUT_CHARACTERS", 10**9)
    monkeypatch.setattr(divide, "LONG_CHARACTERS", 20_000)
    monkeypatch.setattr(shards, "SHARD_CHARACTERS", 10_000)
    monkeypatch.setattr(text, "COMMIT_CHARACTERS", 4_000)


@pytest.fixture
def build(tmp_path: Path, base: BaseSpec) -> Build:
    def run(documents: Sequence[Document] | Path, **recipe) -> Built:
        events: list[Event] = []

        def stage(name: str) -> StageFolder:
            folder = tmp_path / "run" / name
            folder.mkdir(parents=True, exist_ok=True)
            return StageFolder(
                name=name,
                folder=folder,
                run=folder.parent,
                on_event=events.append,
                should_stop=lambda: False,
            )

        first = stage("documents")
        if isinstance(documents, Path):
            corpus = read_corpus(scan_folder(documents), DocumentsRecipe(), first)
        else:
            corpus = _write_corpus(documents, first)
        second = stage("dataset")
        dataset = build_dataset(corpus, base, DatasetRecipe(**recipe), second)
        lines = first.open(corpus.documents_file).read_text(encoding="utf-8").splitlines()
        return Built(
            dataset=dataset,
            splits={
                name: open_token_file(second.open(getattr(dataset, name).folder))
                for name in ("train", "valid", "test")
            },
            ledger=[
                TokenVerdict.model_validate_json(line)
                for line in second.open(dataset.ledger_file).read_text().splitlines()
            ],
            questions=[
                HeldOutQuestion.model_validate_json(line)
                for line in second.open(dataset.questions_file).read_text().splitlines()
            ],
            documents=[Document.model_validate_json(line) for line in lines],
            events=events,
        )

    return run


def _write_corpus(documents: Sequence[Document], stage: StageFolder) -> Corpus:
    lines = "".join(document.model_dump_json() + "\n" for document in documents)
    (stage.folder / "documents.jsonl").write_text(lines, encoding="utf-8")
    return Corpus(
        documents_file=stage.locate("documents.jsonl"),
        ledger_file=stage.locate("ledger.jsonl"),
        num_files=len(documents),
        num_used=len(documents),
        num_duplicates=0,
        num_skipped=0,
        num_documents=len(documents),
        num_characters=len(lines),
        num_secrets_masked=0,
        sha256="0" * 64,
    )
