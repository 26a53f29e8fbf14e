"""Training examples, split by document."""

from __future__ import annotations

from typing import Literal

from appliance.values.record import Value


class Split(Value):
    """One part of the dataset.

    Attributes:
        folder: a token file (see `dataset/tokens.py`).
        num_tokens: tokens of all examples.
        num_labels: supervised tokens.
    """

    folder: str
    num_documents: int
    num_examples: int
    num_tokens: int
    num_labels: int


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
    """

    dataset: Dataset
    terms: Split


class TokenVerdict(Value):
    """What happened to the tokens of one document: a line of the dataset ledger.

    `num_tokens` of clean text (and conversations) = `num_used` + `num_dropped`.
    """

    source: str
    split: Literal["train", "valid", "test"]
    num_tokens: int
    num_used: int
    num_dropped: int
    num_repeated: int
    reason: str = ""


class HeldOutQuestion(Value):
    """A question whose answer stands in a document that was not trained on."""

    question: str
    answer: str
    source: str
