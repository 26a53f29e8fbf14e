"""Whether a model is the same in transformers, in training, after a merge and as a graph.

The oracle is transformers' own eager attention on one example at a time. Letters: T tokens of an
example, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from zoo import VOCAB

from appliance.dataset.pack import Pack, build_pack
from appliance.dataset.tokens import Example, write_token_file
from appliance.serving.decoder import make_decoder
from appliance.serving.graph import open_graph

END = 2
"""The end token of the models in `zoo.py`."""

FIRST_WORD = 5
"""Ids below are special."""


class StockScorer:
    """A model as transformers computes it, example by example; virtual tokens go before each."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.vocab_size = VOCAB

    @torch.no_grad()
    def score(self, token_ids_T, block: int) -> Iterator[np.ndarray]:
        lead = list(getattr(self.model.config, "virtual_token_ids", None) or ())
        ids_1T = torch.tensor([lead + token_ids_T.tolist()])
        logits_TV = self.model(ids_1T, use_cache=False).logits[0, len(lead) :, :VOCAB]
        for start in range(0, len(token_ids_T), block):
            yield logits_TV[start : start + block].float().numpy().copy()


def make_text(num_tokens: int, seed: int = 3) -> list[int]:
    return np.random.default_rng(seed).integers(FIRST_WORD, VOCAB, num_tokens).tolist()


def make_examples(folder: Path, lengths: list[int]):
    """Examples of random tokens, as a token file."""
    examples = [
        Example(token_ids=ids, supervised=[True] * len(ids), document=number)
        for number, ids in enumerate(make_text(length, length) for length in lengths)
    ]
    return write_token_file(folder, examples, VOCAB)


def make_sample(folder: Path, lengths: list[int]) -> list[Pack]:
    split = make_examples(folder, lengths)
    return [build_pack(split, [row]) for row in range(len(lengths))]


@torch.no_grad()
def count_greedy(model: torch.nn.Module, prompt: list[int], answer: list[int], wanted: int) -> int:
    """Tokens of an answer up to the first that is not the model's likeliest.

    The library's loop may end at the end token, with it or before it; then nothing is missing.
    """
    ids = torch.tensor([prompt + answer])
    best = model(ids, use_cache=False).logits[0, len(prompt) - 1 :].argmax(dim=-1).tolist()
    for number, token in enumerate(answer):
        if token != best[number]:
            return number
    has_ended = END in (best[len(answer)], *answer[-1:])
    return wanted if has_ended and len(answer) < wanted else len(answer)


def continue_served(folder: Path, prompts: list[list[int]], num_tokens: int) -> list[list[int]]:
    """Greedy continuations through the decoder that serves: prompts in pieces, rows together."""
    graph = open_graph(folder, 1)
    decoder = make_decoder(graph, len(prompts), graph.layout.context)
    rows = [list(prompt) for prompt in prompts]
    for row, prompt in enumerate(prompts):
        middle = len(prompt) // 2
        decoder.read(row, prompt[:middle], 0)
        rows[row].append(int(decoder.read(row, prompt[middle:], middle).argmax()))
    for _ in range(num_tokens - 1):
        logits_BV = decoder.step([row[-1] for row in rows], [len(row) - 1 for row in rows])
        for row, best in zip(rows, logits_BV.argmax(axis=1).tolist(), strict=True):
            row.append(best)
    return [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]


def continue_library(folder: Path, prompt: list[int], num_tokens: int) -> list[int]:
    """Greedy continuation through the library's own loop."""
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + num_tokens, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array([prompt], dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return generator.get_sequence(0)[len(prompt) :].tolist()
