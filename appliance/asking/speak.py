"""A base that is spoken to: talks in, what it says next out; greedy, so that it is repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from appliance.dataset.template import ChatTemplate, TemplateRefusal, load_chat_template
from appliance.dataset.tokenizer import TextTokenizer
from appliance.errors import BaseModelError
from appliance.tuning.generate import generate
from appliance.tuning.load import load_base
from appliance.values import Turn


@dataclass(frozen=True, kw_only=True, slots=True)
class Speaker:
    """A model with the words around it."""

    model: PreTrainedModel
    template: ChatTemplate
    tokenizer: TextTokenizer

    def say(self, talks: Sequence[Sequence[Turn]], num_tokens: int) -> list[str]:
        """What the model says next in each talk.

        Args:
            talks: each ends with a turn of the user.
            num_tokens: that it says at most.

        Raises:
            BaseModelError: the chat template of the base cannot put a question.
        """
        encode = self.tokenizer.chat.encode
        prompts = [encode(self._render(talk), add_special_tokens=False).ids for talk in talks]
        eos = self.tokenizer.eos_token
        end = self.tokenizer.chat.token_to_id(eos) if eos else None
        said = generate(self.model, prompts, num_tokens, end)
        return [self.tokenizer.chat.decode(ids, skip_special_tokens=True) for ids in said]

    def _render(self, turns: Sequence[Turn]) -> str:
        try:
            return self.template.render_prompt(turns)
        except TemplateRefusal as exc:
            raise BaseModelError(
                "the base cannot be asked for questions",
                why=str(exc),
                fix="leave dataset.pairs_by_base at no, or choose an instruct model with --base",
            ) from exc


def load_speaker(folder: Path, tokenizer: TextTokenizer) -> Speaker:
    """Load a base as training would hold it: in 4 bit, so that where it is tuned it can speak.

    Args:
        folder: of the base.
        tokenizer: of the base.

    Raises:
        BaseModelError: it cannot be loaded.
    """
    has_gpu = torch.cuda.is_available()
    model = load_base(
        folder,
        quantized=True,
        device="cuda:0" if has_gpu else "cpu",
        compute_dtype="bfloat16" if has_gpu else "float32",
    )
    template = ChatTemplate(load_chat_template(folder), tokenizer)
    return Speaker(model=model.eval(), template=template, tokenizer=tokenizer)
