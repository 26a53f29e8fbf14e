"""Answers that keep to a grammar: a JSON schema, or a regular expression.

The grammar says before each token which ones may come next. llguidance, which ONNX Runtime GenAI
uses too, keeps that in some microseconds a token; it is loaded with the first request that needs
it. Letters: V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_MAX_STATES = 10_000
"""States that a grammar may take while it runs. The library's own limit let `a{1000000000}` hold up
all answers for 1.9 s and take 130 MB; with this one it is 0.4 s and 40 MB (2026-11-23)."""


class GrammarRefusal(Exception):  # noqa: N818  (a verdict about what was asked for)
    """The grammar is not valid, or too large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """What an answer has to be.

    Attributes:
        kind: how it is written.
        source: a JSON schema as JSON, or a regular expression.
    """

    kind: Literal["json", "regex"]
    source: str


class Guide:
    """The grammar of one answer, and how far the answer has come in it."""

    def __init__(self, matcher: Any, vocab_size: int, num_known: int) -> None:
        """Begin.

        Args:
            matcher: of llguidance.
            vocab_size: V.
            num_known: tokens that the matcher knows.
        """
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._bits = np.zeros(-(-num_known // 32), dtype=np.int32)

    def allow(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, (V,); none when the answer cannot go on."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little", count=self._vocab_size)
        return bits.view(np.bool_)

    @property
    def is_broken(self) -> bool:
        """Whether the grammar turned out to need more than it may take."""
        return bool(self._matcher.is_error())

    def take(self, token_id: int) -> bool:
        """Go on by a token; returns whether the answer is complete with it."""
        self._matcher.consume_token(token_id)
        return bool(self._matcher.is_stopped())


class GuideMaker:
    """Makes guides for one tokenizer."""

    def __init__(
        self,
        tokenizer_file: Path,
        vocab_size: int,
        eos_ids: Iterable[int],
        *,
        num_virtual: int = 0,
    ) -> None:
        """Load the tokenizer.

        Args:
            tokenizer_file: tokenizer.json.
            vocab_size: V, of the logits.
            eos_ids: tokens that end an answer.
            num_virtual: tokens after those, which are read and never written.
        """
        import llguidance

        self._library = llguidance
        self._limits = llguidance.LLParserLimits(max_lexer_states=_MAX_STATES, verbose_errors=False)
        self._vocab_size = vocab_size
        self._num_known = vocab_size + num_virtual
        self._tokenizer = llguidance.LLTokenizer(
            str(tokenizer_file), n_vocab=self._num_known, eos_token=sorted(eos_ids)
        )

    def make(self, grammar: Grammar) -> Guide:
        """A guide at its beginning.

        Raises:
            GrammarRefusal: the grammar is not valid, or too large.
        """
        matcher = self._library.LLMatcher
        if grammar.kind == "regex":
            compiled = matcher.grammar_from_regex(grammar.source)
        else:  # without the option, a small model fills its answer with blanks
            options: Any = {"whitespace_flexible": False}
            schema = json.loads(grammar.source)
            compiled = matcher.grammar_from_json_schema(schema, overrides=options)
        fault = matcher.validate_grammar(compiled, self._tokenizer, limits=self._limits)
        if fault:
            raise GrammarRefusal(fault.splitlines()[0])
        begun = matcher(self._tokenizer, compiled, log_level=0, limits=self._limits)
        return Guide(begun, self._vocab_size, self._num_known)
