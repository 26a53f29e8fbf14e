"""New tokens for words of a domain that a tokenizer cuts into many pieces.

Learning of the byte-pair encoding goes on where it ended, over the words of the domain: the two
neighbouring tokens that are met most often become one. The new merges come after all old ones, so a
text is cut as before first, and only then joined further: nothing that the base knew changes.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from appliance.dataset.tokens import Example, TokenFile, write_token_file
from appliance.errors import BaseModelError

MIN_COUNT = 8
"""Times that two tokens are met at least: rarer ones would hardly be trained.

Source: assumed.
"""

MAX_LETTERS = 24
"""Characters of a new token at most: longer ones are lines drawn by hand, and the like."""

Pair = tuple[str, str]


def find_merges(texts: Iterable[str], tokenizer: Tokenizer, num_terms: int) -> list[Pair]:
    """Pairs of tokens to be joined, in the order in which they become one.

    Args:
        texts: of the domain.
        tokenizer: of the base, encoding special tokens as text.
        num_terms: pairs at most; fewer where no more are met often enough.

    Source: Sennrich et al. 2016, arXiv:1508.07909, algorithm 1, begun from the base's tokens.
    """
    words = _cut_words(texts, tokenizer)
    known = set(tokenizer.get_vocab())
    counts: Counter[Pair] = Counter()
    places: dict[Pair, set[int]] = defaultdict(set)
    for number, (pieces, count) in enumerate(words):
        for pair in itertools.pairwise(pieces):
            counts[pair] += count
            places[pair].add(number)
    queue = [(-count, pair) for pair, count in counts.items() if _is_term(pair)]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < num_terms:
        told, pair = heapq.heappop(queue)
        if -told != counts[pair]:  # it was counted anew since
            if counts[pair] >= MIN_COUNT:
                heapq.heappush(queue, (-counts[pair], pair))
            continue
        if counts[pair] < MIN_COUNT or "".join(pair) in known:
            continue
        merges.append(pair)
        known.add("".join(pair))
        changed: set[Pair] = set()
        for number in sorted(places.pop(pair)):
            pieces, count = words[number]
            joined = _join(pieces, pair)
            for sign, row in ((-count, pieces), (count, joined)):
                for other in itertools.pairwise(row):
                    counts[other] += sign
                    places[other].add(number)
                    changed.add(other)
            words[number] = (joined, count)
        for other in changed:
            if _is_term(other) and counts[other] >= MIN_COUNT:
                heapq.heappush(queue, (-counts[other], other))
    return merges


def add_merges(tokenizer_json: str, merges: Iterable[Pair]) -> tuple[str, list[list[str]]]:
    """A tokenizer with more tokens, at the end of its vocabulary.

    Args:
        tokenizer_json: content of `tokenizer.json`.
        merges: of `find_merges`.

    Returns:
        The new content, and for every new token the tokens of the old vocabulary that it is made
        of, in the order of the new ids.

    Raises:
        BaseModelError: it is not byte-pair encoding over words, or its ids have gaps.
    """
    body: dict[str, Any] = json.loads(tokenizer_json)
    model = body["model"]
    if model.get("type") != "BPE" or not body.get("pre_tokenizer"):
        raise BaseModelError(
            "the tokenizer of the base takes no new terms",
            why=f"it is {model.get('type')}, not byte-pair encoding over words",
            fix="--set pretrain.new_terms=0, or choose another base",
        )
    vocabulary: dict[str, int] = model["vocab"]
    for token in body["added_tokens"]:  # in the vocabulary they keep their ids
        vocabulary.setdefault(token["content"], token["id"])
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise BaseModelError(
            "the tokenizer of the base takes no new terms",
            why="its ids have gaps, so new ones cannot be appended",
            fix="--set pretrain.new_terms=0, or choose another base",
        )
    has_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
    parts: dict[str, list[str]] = {}
    for left, right in merges:
        token = left + right
        vocabulary[token] = len(vocabulary)
        model["merges"].append(f"{left} {right}" if has_text else [left, right])
        parts[token] = [*parts.get(left, [left]), *parts.get(right, [right])]
    return json.dumps(body, ensure_ascii=False), list(parts.values())


def write_in_parts(
    split: TokenFile, rows: Sequence[int], parts: Mapping[int, list[int]], folder: Path, size: int
) -> TokenFile:
    """Write examples as the base without the new tokens reads them: the same text, more tokens.

    Args:
        split: where the examples are.
        rows: which of them.
        parts: ids of the pieces of every new token.
        folder: of the new split.
        size: of the base's vocabulary.
    """

    def divide(row: int) -> Example:
        start, length, document, kind, num_bytes = (int(n) for n in split.examples_E5[row])
        place = slice(start, start + length)
        pieces = [parts.get(token, [token]) for token in split.tokens_N[place].tolist()]
        supervised = split.supervised_N[place].astype(bool).tolist()
        return Example(
            token_ids=[token for piece in pieces for token in piece],
            supervised=[
                is_label for is_label, p in zip(supervised, pieces, strict=True) for _ in p
            ],
            document=document,
            kind=kind,
            num_bytes=num_bytes,
        )

    return write_token_file(folder, (divide(row) for row in rows), size)


def _cut_words(texts: Iterable[str], tokenizer: Tokenizer) -> list[tuple[list[str], int]]:
    """Every word that has several tokens, with its tokens and how often it stands in the texts."""
    split = tokenizer.pre_tokenizer
    if split is None:
        return []
    counts: Counter[str] = Counter()
    for text in texts:
        plain = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        counts.update(word for word, _ in split.pre_tokenize_str(plain))
    cut = ((tokenizer.model.tokenize(word), count) for word, count in sorted(counts.items()))
    return [([token.value for token in tokens], n) for tokens, n in cut if len(tokens) > 1]


def _is_term(pair: Pair) -> bool:
    """Whether a pair may become a token: a word or a part of one, of bounded length."""
    joined = "".join(pair)
    return len(joined) <= MAX_LETTERS and any(letter.isalpha() for letter in joined[1:])


def _join(pieces: list[str], pair: Pair) -> list[str]:
    """The pieces with every such pair, from the left, as one."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
