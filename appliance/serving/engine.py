"""A bundle that answers: ONNX Runtime, without torch.

`Engine` puts together what a bundle holds: graph, tokenizer, template. Who gets the next token is
decided in `scheduler.py`; a server steps it from `driver.py`, a conversation from `stream_reply`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from appliance import search
from appliance.cgroup import read_core_limit
from appliance.dataset.tokenizer import load_tokenizer
from appliance.errors import BaseModelError, BundleError, UsageError
from appliance.hardware.cpu import count_cores
from appliance.hardware.memory import probe_memory
from appliance.offline import go_offline
from appliance.serving.answer import Answer, End, Piece, Task
from appliance.serving.citing import Shelf
from appliance.serving.decoder import count_position_bytes, make_decoder
from appliance.serving.graph import open_graph, refuse
from appliance.serving.guidance import Grammar, Guide, GuideMaker
from appliance.serving.prompts import PromptRefusal, PromptWriter
from appliance.serving.sampling import Sampling
from appliance.serving.scheduler import Scheduler
from appliance.values import Turn

_CACHE_SHARE = 0.5
"""Share of the free memory that conversations may take."""

_GOOD_LENGTH = 8192
"""Positions that a conversation gets, if the model has them, before there are more of them."""

_MIN_LENGTH = 256
"""Positions below which a row is of no use."""


class Engine:
    """A loaded model.

    Attributes:
        context: positions of a conversation, question and answer together.
        num_rows: conversations at once.
        scheduler: who gets the next token.
        shelf: the documents that can be searched; None where the bundle does not carry them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int | None = None,
        num_rows: int = 1,
        max_waiting: int = 0,
    ) -> None:
        """Load the model of a bundle, or of an export stage.

        Args:
            folder: with genai_config.json.
            threads: processor cores to use; None for all that this process may use.
            num_rows: conversations at once; fewer when memory is short.
            max_waiting: answers that may wait for one of them.

        Raises:
            BundleError: the folder does not hold a model that loads, or there is no memory for it.
        """
        go_offline()
        self.folder = folder
        try:
            self._tokenizer = load_tokenizer(folder)
            self._writer = PromptWriter(folder, self._tokenizer)
        except BaseModelError as exc:
            raise refuse(folder, exc.why) from exc
        graph = open_graph(folder, threads or count_cores(read_core_limit()))
        self._layout = graph.layout
        size = fit_rows(
            num_rows,
            graph.layout.context,
            count_position_bytes(graph),
            int(probe_memory().free_bytes * _CACHE_SHARE),
        )
        self.num_rows, self.context = size
        if not self.num_rows:
            raise refuse(folder, f"there is no memory for a conversation of {_MIN_LENGTH} tokens")
        self.scheduler = Scheduler(make_decoder(graph, *size), max_waiting=max_waiting)
        index = folder / search.FILE_NAME
        self.shelf = Shelf(index) if index.is_file() else None
        self._guides: GuideMaker | None = None
        self._guides_lock = threading.Lock()

    def start(self) -> None:
        """Prepare what the first question would have to wait for."""
        self._writer.start()

    def close(self) -> None:
        """End the process that renders templates, and close the search index."""
        self._writer.close()
        if self.shelf is not None:
            self.shelf.close()

    def encode_prompt(self, messages: Sequence[Turn]) -> list[int]:
        """Token ids of a conversation, up to where the answer begins.

        Raises:
            PromptRefusal: the template cannot express it.
        """
        text = self._writer.write(messages)
        return list(self._tokenizer.chat.encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a text to be continued, beginning as the texts did that were learned from.

        Special tokens are what they are: whoever writes the text may have rendered a template.
        """
        ids = list(self._tokenizer.chat.encode(text, add_special_tokens=False).ids)
        bos_id, virtual_ids = self._tokenizer.bos_id, list(self._tokenizer.virtual_ids)
        if virtual_ids and ids[: len(virtual_ids)] == virtual_ids:
            return ids
        opened = ids if bos_id is None or ids[:1] == [bos_id] else [bos_id, *ids]
        return [*virtual_ids, *opened]

    def name_token(self, token_id: int) -> str:
        """A token as text; parts of a character are written as the replacement character."""
        return str(self._tokenizer.chat.decode([token_id], skip_special_tokens=False))

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary."""
        return self._layout.vocab_size

    def make_guide(self, grammar: Grammar) -> Guide:
        """A guide that keeps an answer to a grammar. Any thread may call.

        Raises:
            GrammarRefusal: the grammar is not valid, or too large.
        """
        with self._guides_lock:
            if self._guides is None:
                layout = self._layout
                file = self.folder / "tokenizer.json"
                self._guides = GuideMaker(
                    file,
                    layout.vocab_size,
                    layout.eos_ids,
                    num_virtual=len(self._tokenizer.virtual_ids),
                )
        return self._guides.make(grammar)

    def submit(self, task: Task, deliver: Callable[[Piece], None]) -> Answer:
        """Ask for an answer; its pieces are delivered while the scheduler advances.

        Raises:
            QueueFull: too many wait already.
        """
        answer = Answer(task, self._tokenizer.chat, self._layout.eos_ids, deliver)
        self.scheduler.submit(answer)
        return answer

    def stream_reply(
        self,
        messages: Sequence[Turn],
        max_tokens: int = 512,
        *,
        temperature: float = 0.0,
        stop_loops: bool = True,
    ) -> Generator[str, None, End]:
        """Answer a conversation, piece by piece; what the last one left in the cache is reused.

        Args:
            messages: the whole conversation so far; the last one is the question.
            max_tokens: of the answer.
            temperature: 0 always takes the most likely token; higher is more varied.
            stop_loops: whether to end an answer that repeats itself.

        Yields:
            Text as it comes; characters of several tokens come whole.

        Returns:
            How the answer ended.

        Raises:
            UsageError: the conversation leaves no room for an answer.
            BundleError: the model's chat template refuses the conversation.
        """
        prompt_ids = self._encode_or_explain(messages)
        task = Task(
            prompt_ids=tuple(prompt_ids),
            room=self.context - len(prompt_ids),
            max_tokens=max_tokens,
            sampling=Sampling(temperature=temperature),
            ends_loops=stop_loops,
        )
        pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        answer = self.submit(task, pieces.put)
        try:
            while True:
                while pieces.empty():
                    self.scheduler.advance()
                piece = pieces.get()
                if piece.text:
                    yield piece.text
                if piece.end is not None:
                    return piece.end
        finally:
            answer.is_unwanted = True
            self.scheduler.advance()

    def _encode_or_explain(self, messages: Sequence[Turn]) -> list[int]:
        try:
            prompt_ids = self.encode_prompt(messages)
        except PromptRefusal as exc:
            raise BundleError(
                "the chat template of the model cannot be used for this conversation",
                why=str(exc),
                fix="tune a base that was made for conversations: --base NAME",
            ) from exc
        if len(prompt_ids) >= self.context:
            raise UsageError(
                f"the conversation has {len(prompt_ids):,} tokens, too many for this model",
                why=f"question and answer have to fit into its context of {self.context:,}",
                fix="shorten the question, or start a new conversation",
            )
        return prompt_ids


def fit_rows(
    num_rows: int, context: int, position_bytes: int, budget_bytes: int
) -> tuple[int, int]:
    """How many conversations fit into memory, and how long each may be.

    Conversations are shortened first, but not below a length that most need; then there are fewer.

    Args:
        num_rows: wanted.
        context: positions wanted of each.
        position_bytes: memory of one position.
        budget_bytes: memory for all of them.

    Returns:
        Rows and positions of each; no rows when not even a short conversation fits.
    """
    num_positions = budget_bytes // position_bytes
    rows = max(1, min(num_rows, num_positions // min(context, _GOOD_LENGTH)))
    length = min(context, num_positions // rows)
    return (rows, length) if length >= min(context, _MIN_LENGTH) else (0, 0)
