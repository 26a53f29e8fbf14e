from __future__ import annotations

from appliance.dataset.blocks import split_blocks
from appliance.dataset.pairing.find import Pair, find_pairs
from appliance.dataset.sentences import cut_at_sentence
from appliance.dataset.tokenizer import TextTokenizer


def pairs_of(text: str, tokenizer: TextTokenizer, max_tokens: int = 256) -> list[Pair]:
    blocks = split_blocks(text, "Guide", tokenizer, 200)
    return find_pairs(text, blocks, "Guide", tokenizer, max_tokens)


def test_question_headings_give_real_pairs(tokenizer: TextTokenizer):
    text = (
        "# FAQ\n\n## 1. How long is the warranty?\n\n24 months.\n\n- or 36\n\n## Where?\n\nHere.\n"
    )
    first, second = pairs_of(text, tokenizer)
    assert (first.question, first.answer) == ("How long is the warranty?", "24 months.\n\n- or 36")
    assert (second.question, second.is_real) == ("FAQ: Where?", True)


def test_q_and_a_paragraphs_give_real_pairs(tokenizer: TextTokenizer):
    text = "Q: What is E05?\nA: Overdue.\n\nQ: And E08?\n\nA: Dirty.\n\nClean it."
    assert [(p.question, p.answer) for p in pairs_of(text, tokenizer)] == [
        ("What is E05?", "Overdue."),
        ("And E08?", "Dirty.\n\nClean it."),
    ]


def test_other_headings_give_made_pairs(tokenizer: TextTokenizer):
    text = "## Hotels\n\nBook hotels in time and keep the bill for the office.\n"
    (pair,) = pairs_of(text, tokenizer)
    assert (pair.question, pair.is_real) == ("What does Guide say about hotels?", False)


def test_headings_that_say_nothing_give_no_pair(tokenizer: TextTokenizer):
    text = "# Guide\n\nThis is a long enough introduction to be an answer.\n\n"
    text += "## Overview\n\nMore of it."
    assert pairs_of(text, tokenizer) == []


def test_long_answers_end_with_a_sentence(tokenizer: TextTokenizer):
    text = "## Why?\n\n" + "The pump was switched off. " * 9
    (pair,) = pairs_of(text, tokenizer, 50)
    assert pair.answer.endswith("off.")
    assert tokenizer.count([pair.answer])[0] <= 50
    assert pair.num_cut > 0


def test_cut_keeps_what_fits_and_never_half_a_sentence(tokenizer: TextTokenizer):
    assert cut_at_sentence("Short.", tokenizer, 10) == "Short."
    assert cut_at_sentence("no border at all " * 50, tokenizer, 10) == ""
    assert cut_at_sentence("One. " + "word " * 50, tokenizer, 10) == "One."
