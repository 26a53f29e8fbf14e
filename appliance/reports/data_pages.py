"""For the engineer: what happened to every file and every token."""

from __future__ import annotations

from appliance.reports.blocks import Block, Note, Section, Table
from appliance.reports.record import DocumentsLedger, RunReport, TokenLedger
from appliance.units import format_bytes
from appliance.values import Corpus, Dataset, FileVerdict


def make_data_pages(report: RunReport) -> tuple[Section, ...]:
    """The ledger of the documents, then that of the tokens."""
    sections = []
    if report.corpus is not None:
        sections.append(_tell_documents(report, report.corpus))
    if report.dataset is not None:
        sections.append(_tell_tokens(report.dataset, report.tokens))
    return tuple(sections)


def _tell_documents(report: RunReport, corpus: Corpus) -> Section:
    ledger = report.documents
    blocks: list[Block] = [_tabulate_verdicts(corpus, ledger)]
    if ledger.reasons:
        blocks.append(_tabulate_reasons(ledger))
    if corpus.masked:
        blocks.append(_tabulate_masked(corpus))
    if corpus.num_boilerplate_lines:
        blocks.append(_tabulate_boilerplate(corpus, ledger))
    if ledger.files:
        blocks.append(_tabulate_files(ledger))
    if report.form == "public":
        blocks.append(
            Note(text="Names of files are told in the report of the run only, not in a bundle.")
        )
    return Section(
        title="Documents",
        lead="What happened to every file: the ledger in sum.",
        blocks=blocks,
    )


def _tabulate_verdicts(corpus: Corpus, ledger: DocumentsLedger) -> Table:
    counts = {
        "used": corpus.num_used,
        "duplicate": corpus.num_duplicates,
        "skipped": corpus.num_skipped,
    }
    rows = [
        (name, f"{count:,}", format_bytes(ledger.bytes_by_verdict.get(name, 0)), _remark(name))
        for name, count in counts.items()
    ]
    near = f"{corpus.num_near_duplicates:,} of the duplicates are nearly the same as another file"
    remarked = f"; {ledger.num_remarked:,} used with a remark" if ledger.num_remarked else ""
    return Table(
        head=("verdict", "files", "size", ""),
        rows=(*rows, ("found", f"{corpus.num_files:,}", "", "")),
        align="lrrl",
        note=f"{corpus.num_documents:,} documents, {corpus.num_characters:,} characters of clean "
        f"text; {near}{remarked}.",
    )


def _remark(verdict: str) -> str:
    return {
        "used": "became text to learn from",
        "duplicate": "says the same as another file, which is used",
        "skipped": "could not be used: the reasons stand below",
    }[verdict]


def _tabulate_reasons(ledger: DocumentsLedger) -> Table:
    return Table(
        caption="Why files were not used",
        head=("files", "size", "verdict", "reason", "what helps"),
        rows=tuple(
            (
                f"{row.num_files:,}",
                format_bytes(row.num_bytes),
                row.verdict,
                row.reason,
                row.fix or "–",
            )
            for row in ledger.reasons
        ),
        align="rrnxx",
    )


def _tabulate_masked(corpus: Corpus) -> Table:
    kinds = sorted(corpus.masked.items(), key=lambda row: (-row[1], row[0]))
    return Table(
        caption="Private values that were masked",
        head=("kind", "times"),
        rows=(
            *((name.replace("_", " "), f"{count:,}") for name, count in kinds),
            ("in all", f"{corpus.num_secrets_masked:,}"),
        ),
        align="lr",
        note="Patterns find no names and no addresses of people: list those in "
        "documents.mask_words.",
    )


def _tabulate_boilerplate(corpus: Corpus, ledger: DocumentsLedger) -> Table:
    return Table(
        caption="Boilerplate that was taken out",
        head=("files that had the line", "characters"),
        rows=tuple((f"{row.num_files:,}", f"{row.num_characters:,}") for row in ledger.boilerplate),
        align="rr",
        note=f"{corpus.num_boilerplate_lines:,} lines in all; their text is in "
        "corpus/boilerplate.jsonl of the run.",
    )


def _tabulate_files(ledger: DocumentsLedger) -> Table:
    left_out = ledger.num_files_left_out
    return Table(
        caption="File by file",
        head=("file", "verdict", "size", "masked", "reason, and what helps"),
        rows=tuple(
            (
                row.path,
                row.verdict,
                format_bytes(row.num_bytes),
                f"{row.num_secrets_masked:,}" if row.num_secrets_masked else "",
                _explain(row),
            )
            for row in ledger.files
        ),
        align="pnrrx",
        note="Those to look at first come first."
        + (
            f" {left_out:,} more are in corpus/ledger.jsonl of the run, and in "
            "appliance report RUN --json."
            if left_out
            else ""
        ),
        is_dense=True,
    )


def _explain(row: FileVerdict) -> str:
    lines = f"{row.num_boilerplate_lines:,} lines of boilerplate" * bool(row.num_boilerplate_lines)
    return "; ".join(filter(None, (row.reason, row.fix, lines)))


def _tell_tokens(dataset: Dataset, ledger: TokenLedger) -> Section:
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    counted = {row.split: row for row in ledger.splits}
    rows = []
    for name, split in splits.items():
        row = counted.get(name)
        of_text = (
            [f"{x:,}" for x in (row.num_used, row.num_dropped, row.num_repeated)] if row else []
        )
        rows.append(
            (
                name,
                f"{split.num_documents:,}",
                f"{split.num_examples:,}",
                f"{split.num_tokens:,}",
                f"{split.num_labels:,}",
                *(of_text or ("–", "–", "–")),
            )
        )
    blocks: list[Block] = [
        Table(
            head=(
                "split",
                "units",
                "examples",
                "tokens",
                "supervised",
                "of text: used",
                "dropped",
                "repeated",
            ),
            rows=rows,
            align="lrrrrrrr",
            note="A unit is a document, a conversation or eight records; whole families of units "
            "go to one split. Repeated tokens stand in a passage and in an answer made from it. "
            f"The longest example has {dataset.longest_example:,} tokens; "
            f"{dataset.num_questions:,} questions were held out.",
        )
    ]
    if ledger.reasons:
        blocks.append(
            Table(
                caption="Why tokens were dropped",
                head=("tokens", "reason"),
                rows=tuple((f"{count:,}", reason) for reason, count in ledger.reasons.items()),
                align="rx",
            )
        )
    return Section(
        title="Tokens",
        lead="What became of the text: every token is in an example, or dropped with a reason.",
        blocks=blocks,
    )
