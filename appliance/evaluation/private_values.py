"""Whether a model tells private values of the documents: masked ones too, which nobody kept.

The model is let go on at places where a value stood, or stands. What it then says is searched like
a document, and what is found there is compared by the keyed hashes under which the reading of the
documents knew the values (`documents/placeholders.py`). Text stays in memory, and is counted alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from appliance.dataset.tokenizer import TextTokenizer
from appliance.dataset.tokens import TokenFile
from appliance.documents.marks import KnownMarks
from appliance.documents.placeholders import make_mark
from appliance.documents.scrub import ScrubPolicy, find_private
from appliance.documents.scrubbing.finding import KINDS
from appliance.tuning.generate import generate
from appliance.tuning.model import DecoderModel
from appliance.tuning.sample import choose_examples

SEARCHED_TOKENS = 200_000
"""Training text that is searched for places."""

BEFORE_CHARACTERS, BEFORE_TOKENS = 160, 32
"""Text before a place that the model is given."""

ANSWER_TOKENS = 24
"""A value and some words before it."""

EVERYTHING = ScrubPolicy()
"""All kinds, whatever the recipe masked."""

_PLACEHOLDER = re.compile(rf"<(?:{'|'.join(kind.upper() for kind in KINDS)})_\d+>")


def find_places(
    split: TokenFile, tokenizer: TextTokenizer, num_places: int, marks: KnownMarks
) -> tuple[list[str], frozenset[str]]:
    """Places in the training text where a private value stands or was masked.

    Args:
        split: training split.
        tokenizer: of the base.
        num_places: at most; chosen evenly by a fixed seed.
        marks: of masked values.

    Returns:
        The text before each place, and the marks of all values that must not come out.
    """
    before: list[str] = []
    known = set(marks.values)
    for row in choose_examples(split, SEARCHED_TOKENS):
        start, length = split.examples_E5[row, :2]
        ids = split.tokens_N[start : start + length].tolist()
        text = tokenizer.plain.decode(ids, skip_special_tokens=True)
        found = find_private(text, EVERYTHING)
        known |= {make_mark(each.kind, text[each.start : each.end], marks.key) for each in found}
        places = [each.start for each in found] + [m.start() for m in _PLACEHOLDER.finditer(text)]
        texts = [text[max(0, place - BEFORE_CHARACTERS) : place].rstrip(" ") for place in places]
        before += [each for each in texts if each]  # a space is the beginning of the next token
    order = np.random.default_rng(0).permutation(len(before))[:num_places]
    return [before[number] for number in sorted(order.tolist())], frozenset(known)


def list_told(
    model: DecoderModel,
    tokenizer: TextTokenizer,
    before: Sequence[str],
    known: frozenset[str],
    key: bytes,
) -> set[str]:
    """Marks of the private values that greedy answers tell.

    Args:
        model: base or tuned.
        tokenizer: of the base.
        before: text before each place.
        known: marks that count.
        key: of the marks.
    """
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    prompts = [
        [*model.lead_ids, *start, *encoding.ids[-BEFORE_TOKENS:]]
        for encoding in (tokenizer.encode(list(before)) if before else [])
    ]
    answers = generate(model.module, prompts, ANSWER_TOKENS, None)
    told: set[str] = set()
    for text, answer in zip(before, answers, strict=True):
        said = text + tokenizer.plain.decode(answer)  # words before a number say what it is
        told |= {
            make_mark(each.kind, said[each.start : each.end], key)
            for each in find_private(said, EVERYTHING)
            if each.end > len(text)
        }
    return told & known
