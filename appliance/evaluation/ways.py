"""How well each way of answering does on the same held-out questions.

The score of a question is the share of wrong answers that the model finds less likely than the
right one, when it is told the question in that way. It means something for a base of any size, as a
generated answer does not. How likely an answer is, is counted against how likely it is when nothing
is asked: else short and common answers win whatever the question is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.dataset.tokenizer import TextTokenizer
from appliance.evaluation.likelihood import score_options
from appliance.evaluation.sheet import Sheet
from appliance.tuning.generate import generate
from appliance.tuning.model import DecoderModel
from appliance.values import Way

BASE_WAYS: tuple[Way, ...] = ("base", "prompt", "search")
TUNED_WAYS: tuple[Way, ...] = ("tuned", "tuned+search")


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much is asked.

    Attributes:
        num_choices: questions answered by choice, from the first on.
        num_answers: of them, those answered in words too; and so many of UNANSWERABLE at most.
        answer_tokens: of an answer in words.
    """

    num_choices: int
    num_answers: int
    answer_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WayAnswers:
    """What a model made of a sheet in one way.

    Attributes:
        beaten: score of each question, 0 to 1.
        trust: probability that the model gives to its choice; of each question.
        is_right: whether the choice is the right answer.
        answers: in words, to the first questions.
        to_unanswerable: in words.
        seconds: for one answer in words; for one choice where none was given.
    """

    beaten: tuple[float, ...]
    trust: tuple[float, ...]
    is_right: tuple[bool, ...]
    answers: tuple[str, ...] = ()
    to_unanswerable: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(kw_only=True, slots=True)
class Examinee:
    """A model that answers a sheet.

    Attributes:
        priors: nats of answers when nothing is asked, by token ids.
    """

    model: DecoderModel
    sheet: Sheet
    tokenizer: TextTokenizer
    effort: Effort
    priors: dict[tuple[int, ...], float] = field(default_factory=dict)

    def answer(self, way: Way) -> WayAnswers:
        """Choose an answer to every question, and answer some in words."""
        prompts = self.sheet.prompts[way]
        started = time.perf_counter()
        number = self.effort.num_choices
        rows = [
            self._weigh(prompt, options)
            for prompt, options in zip(prompts[:number], self.sheet.options[:number], strict=True)
        ]
        seconds = (time.perf_counter() - started) / max(1, len(rows))
        spoken: list[str] = []
        if self.effort.num_answers:
            asked = prompts[len(self.sheet.questions) :][: self.effort.num_answers]  # UNANSWERABLE
            first, *rest = [*prompts[: self.effort.num_answers], *asked]
            started = time.perf_counter()
            spoken = self._speak([first])
            seconds = time.perf_counter() - started
            spoken += self._speak(rest) if rest else []
        return WayAnswers(
            beaten=tuple(map(measure_beaten, rows)),
            trust=tuple(max(measure_trust(row)) for row in rows),
            is_right=tuple(row[0] >= max(row) for row in rows),
            answers=tuple(spoken[: self.effort.num_answers]),
            to_unanswerable=tuple(spoken[self.effort.num_answers :]),
            seconds=seconds,
        )

    def _weigh(self, prompt: Sequence[int], options: Sequence[tuple[int, ...]]) -> list[float]:
        """By how many nats the question makes each answer likelier."""
        self._learn_priors(options)
        nats = score_options(self.model, prompt, options)
        return [self.priors[option] - now for option, now in zip(options, nats, strict=True)]

    def _learn_priors(self, options: Sequence[tuple[int, ...]]) -> None:
        missing = [option for option in options if option not in self.priors]
        if missing:
            nats = score_options(self.model, self.sheet.neutral, missing)
            self.priors.update(zip(missing, nats, strict=True))

    def _speak(self, prompts: list[tuple[int, ...]]) -> list[str]:
        lead = self.model.lead_ids
        token = self.tokenizer.eos_token
        end = self.tokenizer.chat.token_to_id(token) if token else None
        ids = generate(
            self.model.module,
            [[*lead, *prompt] for prompt in prompts],
            self.effort.answer_tokens,
            end,
        )
        return [self.tokenizer.chat.decode(answer).strip() for answer in ids]


def measure_beaten(gains: Sequence[float]) -> float:
    """Share of the wrong answers that gain less than the right one, which is the first.

    Equal ones count half, so that a model that does not read the question scores 0.5.

    Args:
        gains: by how many nats the question makes each answer likelier; where there is no wrong one
            to choose, 0.5.

    Source: the area under the curve as a share of ordered pairs, Hanley and McNeil 1982; gains in
    place of likelihoods: Holtzman et al. 2021, "Surface Form Competition", arXiv:2104.08315.
    """
    right, *wrong = gains
    points = sum(1.0 if right > other else 0.5 if right == other else 0.0 for other in wrong)
    return points / len(wrong) if wrong else 0.5


def measure_trust(gains: Sequence[float]) -> list[float]:
    """Probability of each answer, when all are equally likely before the question is known.

    By Bayes: P(answer | question) is in proportion to p(answer | question) / p(answer).
    """
    highest = max(gains)
    odds = [math.exp(gain - highest) for gain in gains]
    return [odd / sum(odds) for odd in odds]
