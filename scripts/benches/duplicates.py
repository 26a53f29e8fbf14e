"""What near-duplicate search finds, what it takes by mistake, and what it costs.

    scripts/bench duplicates --json FILE

Copies of real documents are changed in known ways and put back among them; whole corpora without
copies show the false finds. Cost: signing and pairing 100,000 documents of generated words.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from appliance.documents.drafts import Drafts  # noqa: E402
from appliance.documents.families import Relations, SignatureBook, relate  # noqa: E402
from appliance.documents.walk import Entry  # noqa: E402
from appliance.values import Document  # noqa: E402

CORPORA = ("18f-handbook", "clef-handbook", "openstax-intellectual-property")
NUM_COPIED = 120
NUM_COST = 100_000

Row = dict[str, Any]
Change = Callable[[str, random.Random], str]


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option("--cost/--no-cost", default=True, help="Also sign 100,000 documents.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=ROOT.parent / "shared" / "data",
    help="Where real documents lie.",
)
def main(json_file: Path | None, data: Path, cost: bool) -> None:
    """Recall and precision on changed copies of real documents; time and memory of 100,000."""
    texts = [
        path.read_text(encoding="utf-8")
        for corpus in CORPORA
        for path in sorted((data / corpus).rglob("*.md"))
    ]
    texts = [text for text in texts if len(text.split()) >= 80]
    rows = [measure_change(name, change, texts) for name, change in CHANGES.items()]
    rows.append(measure_false_finds(texts))
    if cost:
        rows.append(measure_cost())
    for row in rows:
        click.echo(json.dumps(row))
    if json_file:
        json_file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def change_words(share: float) -> Change:
    """Some words, anywhere, become other words of the corpus."""

    def change(text: str, rng: random.Random) -> str:
        words = text.split(" ")
        return " ".join(rng.choice(words) if rng.random() < share else word for word in words)

    return change


def cut_paragraphs(share: float) -> Change:
    """Some paragraphs are gone."""

    def change(text: str, rng: random.Random) -> str:
        head, *rest = text.split("\n\n")
        return "\n\n".join([head, *(part for part in rest if rng.random() >= share)])

    return change


def change_numbers(text: str, rng: random.Random) -> str:
    """A sibling: the same words, other facts. Not to be dropped."""
    words = text.split(" ")
    return " ".join(
        f"{word[:1].upper()}{rng.randrange(10**4)}" if place % 15 == 7 else word
        for place, word in enumerate(words)
    )


CHANGES: dict[str, Change] = {
    "words 1 %": change_words(0.01),
    "words 3 %": change_words(0.03),
    "words 5 %": change_words(0.05),
    "words 10 %": change_words(0.1),
    "paragraphs cut 10 %": cut_paragraphs(0.1),
    "paragraphs cut 20 %": cut_paragraphs(0.2),
    "sibling (must stay)": change_numbers,
}


def measure_change(name: str, change: Change, texts: list[str]) -> Row:
    """Share of changed copies that are dropped for their original, and of those in its family."""
    rng = random.Random(name)
    chosen = rng.sample(range(len(texts)), min(NUM_COPIED, len(texts)))
    copies = [change(texts[number], rng) for number in chosen]
    relations = find_relations([*texts, *copies])
    dropped, related, wrong = 0, 0, 0
    for place, number in enumerate(chosen):
        copy = len(texts) + place
        pair = {number, copy}
        repeat = relations.repeats.get(copy) or relations.repeats.get(number)
        dropped += repeat is not None and repeat.of in pair
        related += relations.families.get(copy, -1) == relations.families.get(number, -2)
    original = {len(texts) + place: number for place, number in enumerate(chosen)}
    for number, repeat in relations.repeats.items():
        wrong += original.get(number, number) != original.get(repeat.of, repeat.of)
    return {
        "change": name,
        "num_copies": len(copies),
        "dropped_share": dropped / len(copies),
        "in_family_share": related / len(copies),
        "num_wrong": wrong,
    }


def measure_false_finds(texts: list[str]) -> Row:
    """What is dropped, or joined to a family, where nothing was copied."""
    relations = find_relations(texts)
    return {
        "corpora": list(CORPORA),
        "num_documents": len(texts),
        "num_dropped": len(relations.repeats),
        "num_in_families": len(relations.families),
    }


def measure_cost() -> Row:
    """Seconds and memory of 100,000 documents of 200 words, every tenth a changed copy."""
    rng = random.Random(1)
    words = [f"{rng.randrange(36**4):x}" for _ in range(20_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    book = SignatureBook()
    text = ""
    for number in range(NUM_COST):
        if number % 10 or not text:
            text = " ".join(rng.choices(words, k=200))
        book.add(number, text if number % 10 else text.replace(" ", " x ", 4))
    signed = time.process_time()
    candidates = book.find_candidates()
    return {
        "num_documents": NUM_COST,
        "sign_seconds": round(signed - began, 1),
        "pair_seconds": round(time.process_time() - signed, 1),
        "num_with_candidates": len(candidates),
        "memory_mebibytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
    }


def find_relations(texts: list[str]) -> Relations:
    """As `settle.py` does, without boilerplate."""
    book = SignatureBook()
    with tempfile.TemporaryDirectory() as folder, Drafts(Path(folder) / "drafts") as drafts:
        for number, text in enumerate(texts):
            name = f"{chr(97 + number % 26)}{number}.md"
            entry = Entry(place=name, name=name, kind="file", num_bytes=0, modified=0)
            drafts.add(Document(number=number, source=name, title="", text=text), entry)
            book.add(number, text)
        return relate(book.find_candidates(), drafts, str, may_drop=True)


if __name__ == "__main__":
    main()
