"""Training examples, split by document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appliance.values.documents import Turn
from appliance.values.record import Value

PairKind = Literal["asked", "steps", "headings", "definitions", "rows", "cloze", "generated"]
"""What a pair of question and answer was made from; `generated`: by the base, from a passage."""

ExampleKind = Literal[
    "passage", "conversation", "refusals",
    "asked", "steps", "headings", "definitions", "rows", "cloze", "generated", "canary",
]  # fmt: skip
"""What an example is."""


class Split(Value):
    """One part of the dataset.

    Attributes:
        folder: a token file (see `dataset/tokens.py`).
        num_tokens: tokens of all examples.
        num_labels: supervised tokens.
        kinds: examples by what they are.
    """

    folder: str
    num_documents: int
    num_examples: int
    num_tokens: int
    num_labels: int
    kinds: dict[ExampleKind, int] = Field(default_factory=dict)


class Dataset(Value):
    """Training examples, split by document.

    Attributes:
        questions_file: JSON lines of HeldOutQuestion, from documents of the test split.
        ledger_file: JSON lines of TokenVerdict, one a document: every token accounted for.
        num_tokens_dropped: tokens of the documents that are in no example.
        num_tokens_repeated: tokens that stand in a passage and in an answer made from it.
        longest_example: tokens.
        sha256: over the three splits.
        general: general text that is never trained on, and tells what is forgotten; None in
            datasets of older versions.
        replay: general text that is read again where training shows that some is.
        sources_file: JSON, file of each document of the test split by its number; private.
    """

    train: Split
    valid: Split
    test: Split
    questions_file: str
    ledger_file: str
    num_questions: int
    num_tokens_dropped: int
    num_tokens_repeated: int
    longest_example: int
    sha256: str
    general: Split | None = None
    replay: Split | None = None
    sources_file: str = ""


class GeneralSource(Value):
    """Where general text comes from.

    Attributes:
        documents_file: JSON lines of Document; "" for the sample that ships.
        sha256: over that file.
    """

    documents_file: str = ""
    sha256: str = ""


class TextDataset(Value):
    """Plain text for next-token training.

    Attributes:
        dataset: the splits; examples of the training split are whole documents, whatever their
            length, and every token of them is a label.
        terms: places in the test split where a term of the domain has to be guessed.
        sources_file: source of every document, a byte each (`dataset/mixing.py`); "" where all are
            read alike.
        num_read: tokens of the training split that one epoch reads, after all weights.
    """

    dataset: Dataset
    terms: Split
    sources_file: str = ""
    num_read: int

    @property
    def as_read(self) -> Dataset:
        """The dataset as a plan has to count it: a source that is read twice costs twice."""
        train = self.dataset.train.model_copy(update={"num_tokens": self.num_read})
        return self.dataset.model_copy(update={"train": train})


class TokenVerdict(Value):
    """What happened to the tokens of one document: a line of the dataset ledger.

    `num_tokens` of clean text (and conversations) = `num_used` + `num_dropped`. `kinds`: examples
    that were made from it, by what they are.
    """

    source: str
    split: Literal["train", "valid", "test"]
    num_tokens: int
    num_used: int
    num_dropped: int
    num_repeated: int
    reason: str = ""
    kinds: dict[ExampleKind, int] = Field(default_factory=dict)


class HeldOutQuestion(Value):
    """A question whose answer stands in a document that was not trained on.

    Attributes:
        system: instruction that stands before it, as it does in training; "" for none.
    """

    question: str
    answer: str
    source: str
    system: str = ""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What a model is asked."""
        system = (Turn(role="system", content=self.system),) if self.system else ()
        return (*system, Turn(role="user", content=self.question))


class ExampleOrigin(Value):
    """Where an example comes from: a line of `origins.jsonl`, in the order of the token file.

    Attributes:
        source: file, relative to the documents folder; "" for a question that is about none.
        start: first character of the place, in the clean text of the document; 0 for a talk.
        end: the character after it.
        talk: number of the conversation in its document; none for text.
        sha256: over the place, or over the turns of the conversation, as UTF-8. Of a refusal: over
            the whole document that does not answer.
    """

    kind: ExampleKind
    source: str
    start: int = 0
    end: int = 0
    talk: int | None = None
    sha256: str = ""


class MadePairs(Value):
    """Pairs that the base wrote.

    Attributes:
        file: JSON lines of MadePair; "" if the base was not asked.
        num_asked: passages that it was shown.
        num_kept: pairs that passed all checks.
        faults: why the others did not, with their numbers.
    """

    file: str = ""
    num_asked: int = 0
    num_kept: int = 0
    faults: dict[str, int] = Field(default_factory=dict)


class MadePair(Value):
    """A question and an answer that the base wrote about a passage, after all checks.

    Attributes:
        document: its number.
        start: first character of the passage.
        end: the character after it.
    """

    document: int
    start: int
    end: int
    question: str
    answer: str
