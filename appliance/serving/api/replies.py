"""Answers in the shape that clients of OpenAI's API know, whole or as a stream of events."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from appliance.serving.answer import End, StopReason
from appliance.serving.citing import Citation
from appliance.serving.sampling import TokenScore

FinishReason = Literal["stop", "length"]
Body = dict[str, Any]

_FINISH_REASONS: dict[StopReason, FinishReason] = {
    "end": "stop",
    "stop": "stop",
    "length": "length",
    "context": "length",
    "loop": "length",
    "time": "length",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What all parts of one reply have in common.

    Attributes:
        id: of the answer, new each time.
        model: that answers.
        created: seconds since 1970.
        fingerprint: of the weights.
        is_chat: whether a conversation was asked for, or a completion.
        is_scored: whether every token is told with its probability.
        tells_usage: whether a stream ends with the number of tokens.
        name_token: a token as text.
        citations: passages that were put before the question; None where nothing was searched.
    """

    id: str
    model: str
    created: int
    fingerprint: str
    is_chat: bool
    is_scored: bool
    tells_usage: bool
    name_token: Callable[[int], str]
    citations: tuple[Citation, ...] | None = None

    def write(self, text: str, scores: Sequence[TokenScore], end: End) -> Body:
        """A whole answer."""
        if self.is_chat:
            said: Body = {"message": {"role": "assistant", "content": text, "refusal": None}}
        else:
            said = {"text": text}
        return self._wrap(
            "chat.completion" if self.is_chat else "text_completion",
            choices=[self._choose(said, scores, end)],
            usage=count_usage(end),
            **self._cite(),
        )

    def open(self) -> Body | None:
        """The first event of a stream: who speaks, and from what. Completions have none."""
        if not self.is_chat:
            return None
        return self._event({"delta": {"role": "assistant", "content": ""}}) | self._cite()

    def go_on(self, text: str, scores: Sequence[TokenScore]) -> Body:
        """An event with text."""
        said: Body = {"delta": {"content": text}} if self.is_chat else {"text": text}
        return self._event(said, scores)

    def finish(self, end: End) -> Body:
        """The event that says why the answer ended."""
        said: Body = {"delta": {}} if self.is_chat else {"text": ""}
        return self._event(said, end=end)

    def tell_usage(self, end: End) -> Body:
        """The last event, for those who asked for it."""
        return self._wrap(self._event_kind, choices=[], usage=count_usage(end))

    def _cite(self) -> Body:
        """Passages, in a field beside OpenAI's own."""
        if self.citations is None:
            return {}
        return {"citations": [asdict(citation) for citation in self.citations]}

    @property
    def _event_kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"

    def _event(
        self, said: Body, scores: Sequence[TokenScore] | None = None, end: End | None = None
    ) -> Body:
        usage = {"usage": None} if self.tells_usage else {}
        choices = [self._choose(said, scores, end)]
        return self._wrap(self._event_kind, choices=choices, **usage)

    def _choose(self, said: Body, scores: Sequence[TokenScore] | None, end: End | None) -> Body:
        write = self._write_chat_scores if self.is_chat else self._write_scores
        return {
            "index": 0,
            **said,
            "logprobs": write(scores) if self.is_scored and scores is not None else None,
            "finish_reason": None if end is None else _FINISH_REASONS[end.reason],
        }

    def _wrap(self, kind: str, **content: Any) -> Body:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            **content,
        }

    def _write_chat_scores(self, scores: Sequence[TokenScore]) -> Body:
        return {
            "content": [
                self._write_score(score.token_id, score.logprob)
                | {"top_logprobs": [self._write_score(*entry) for entry in score.top]}
                for score in scores
            ],
            "refusal": None,
        }

    def _write_score(self, token_id: int, logprob: float) -> Body:
        """A token that is a part of a character has no bytes of its own to tell."""
        text = self.name_token(token_id)
        return {
            "token": text,
            "logprob": logprob,
            "bytes": None if "\ufffd" in text else list(text.encode()),
        }

    def _write_scores(self, scores: Sequence[TokenScore]) -> Body:
        texts = [self.name_token(score.token_id) for score in scores]
        return {
            "tokens": texts,
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [
                {self.name_token(token): logprob for token, logprob in score.top}
                for score in scores
            ],
            "text_offset": [sum(map(len, texts[:place])) for place in range(len(texts))],
        }


def make_id(prefix: str) -> str:
    """An id that nobody guesses, such as `chatcmpl-9f2c…`."""
    return f"{prefix}-{secrets.token_hex(12)}"


def count_usage(end: End) -> Body:
    """Tokens read and written."""
    return {
        "prompt_tokens": end.num_prompt,
        "completion_tokens": end.num_tokens,
        "total_tokens": end.num_prompt + end.num_tokens,
        "prompt_tokens_details": {"cached_tokens": end.num_cached},
    }


def write_event(body: Body) -> bytes:
    """A server-sent event."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


DONE = b"data: [DONE]\n\n"
"""What a stream ends with."""
