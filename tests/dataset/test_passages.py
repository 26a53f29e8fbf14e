from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from appliance.dataset.blocks import split_blocks
from appliance.dataset.passages import make_passages
from appliance.dataset.tokenizer import TextTokenizer

TABLE = "# Prices\n\n| Part number | Description |\n| --- | --- |\n" + "\n".join(
    f"| HI-{n} | Sensor number {n} with a cable of {n} metres |" for n in range(60)
)


def passages_of(text: str, tokenizer: TextTokenizer, limit: int = 96, title: str = "Guide"):
    blocks = split_blocks(text, title, tokenizer, limit * 3 // 4)
    return make_passages(text, blocks, tokenizer, limit)


def random_text(seed: int) -> str:
    rng = random.Random(seed)
    words = ["sensor", "water", "pump", "valve", "7.5", "E05", "clean", "the", "a", "café", "naïve"]

    def sentence() -> str:
        return " ".join(rng.choices(words, k=rng.randint(2, 40))).capitalize() + "."

    pieces = []
    for _ in range(rng.randint(5, 60)):
        kind = rng.choice(["h", "p", "p", "list", "table", "code", "long"])
        if kind == "h":
            pieces.append("#" * rng.randint(1, 4) + " " + " ".join(rng.choices(words, k=3)))
        elif kind == "list":
            pieces.append("\n".join(f"- {sentence()}" for _ in range(rng.randint(1, 12))))
        elif kind == "table":
            rows = [f"| {n} | {sentence()} |" for n in range(rng.randint(1, 20))]
            pieces.append("\n".join(["| No | What |", "| --- | --- |", *rows]))
        elif kind == "code":
            pieces.append("```\n" + "x = 1\n" * rng.randint(1, 80) + "```")
        else:
            pieces.append(" ".join(sentence() for _ in range(30 if kind == "long" else 2)))
    return "\n\n".join(pieces)


@pytest.mark.parametrize("seed", range(12))
def test_blocks_tile_the_text_and_its_tokens(seed: int, tokenizer: TextTokenizer):
    text = random_text(seed)
    blocks = split_blocks(text, "Guide", tokenizer, 64)
    assert blocks[0].start == 0 and blocks[-1].end == len(text)
    assert all(a.end == b.start for a, b in pairwise(blocks))
    assert sum(block.num_tokens for block in blocks) == tokenizer.count([text])[0]


@pytest.mark.parametrize("seed", range(12))
def test_passages_fit_and_lose_nothing_but_what_they_say(seed: int, tokenizer: TextTokenizer):
    text = random_text(seed)
    made = passages_of(text, tokenizer)
    assert all(len(p.encoding.ids) <= 96 for p in made.passages)
    num_tokens = sum(p.num_tokens for p in made.passages) + made.num_dropped
    assert num_tokens == tokenizer.count([text])[0]
    kept = "".join("".join(p.body.split()) for p in made.passages)
    if not made.num_dropped:
        assert kept == "".join(text.split())


def test_rows_are_never_cut_and_carry_their_header(tokenizer: TextTokenizer):
    made = passages_of(TABLE, tokenizer)
    assert len(made.passages) > 5
    for passage in made.passages:
        assert passage.text.count("| Part number | Description |") == 1
        rows = [line for line in passage.text.splitlines() if line.startswith("| HI-")]
        assert rows and all(row.endswith("metres |") for row in rows)
    assert sum(p.text.count("| HI-") for p in made.passages) == 60


def test_heading_stands_with_the_text_below_it(tokenizer: TextTokenizer):
    text = "\n\n".join(f"## Part {n}\n\n" + f"Sentence {n} about it. " * 9 for n in range(12))
    for passage in passages_of(text, tokenizer).passages:
        last = passage.body.strip().splitlines()[-1]
        assert not last.startswith("#")


def test_passage_starts_with_its_heading_path(tokenizer: TextTokenizer):
    text = "# Travel\n\nIntro here.\n\n## Hotels\n\n" + "Book in time and keep the bill. " * 30
    made = passages_of(text, tokenizer, title="Travel")
    assert made.passages[0].text.startswith("# Travel")
    assert made.passages[-1].lead == "Travel > Hotels\n\n"
    assert made.passages[-1].num_lead_tokens > 0


def test_headings_without_text_are_dropped_and_counted(tokenizer: TextTokenizer):
    made = passages_of("# Only\n\n## Headings\n\n### Here", tokenizer)
    assert made.passages == ()
    assert made.num_dropped == tokenizer.count(["# Only\n\n## Headings\n\n### Here"])[0]


def test_text_without_any_border_is_still_cut(tokenizer: TextTokenizer):
    made = passages_of("x9" * 2000, tokenizer)
    assert all(len(p.encoding.ids) <= 96 for p in made.passages)
    assert "".join(p.body for p in made.passages) == "x9" * 2000


def test_records_stay_whole(tokenizer: TextTokenizer):
    text = "\n".join(f"- Part: HI-{n}; Price: {n} EUR; Weight: {n} g" for n in range(80))
    for passage in passages_of(text, tokenizer).passages:
        for line in passage.body.splitlines():
            assert re.fullmatch(r"- Part: HI-(\d+); Price: \1 EUR; Weight: \1 g", line)
