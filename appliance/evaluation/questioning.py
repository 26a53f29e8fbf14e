"""Held-out questions, put to one model after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.dataset.template import ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import load_tokenizer
from appliance.dataset.tokens import ANSWER, open_token_file
from appliance.evaluation.recommend import MIN_QUESTIONS
from appliance.evaluation.sheet import OPTION_TOKENS, Sheet, Writer, write_sheet
from appliance.evaluation.ways import Effort, Examinee, WayAnswers
from appliance.recipe import EvaluateRecipe
from appliance.rundir import StageFolder
from appliance.tuning.model import DecoderModel
from appliance.values import (
    BaseSpec,
    Corpus,
    Dataset,
    HeldOutQuestion,
    TrainPlan,
    TunedModel,
    Way,
)

_MAX_ROOM = 2048
"""Tokens of a prompt at most: solved examples would fill the context of a large base."""

_SHOT_TOKENS = 128
"""Of a solved example at most."""

_MAX_SHOTS = 4

_ALWAYS: tuple[Way, ...] = ("base", "tuned")
"""Ways that answer in words in any case, however little was trained."""

_SILENCE = Effort(num_choices=0, num_answers=0, answer_tokens=1)

_CHOICES_PER_ANSWER = 6
"""Questions answered by choice for each that is answered in words, which costs more."""

_TRAINING_PASSES = 3
"""Work of training on a token, in readings of it: forward once, backward twice that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Questioning:
    """What is asked, and how much of it.

    Attributes:
        index_seconds: to build what is searched.
    """

    sheet: Sheet
    writer: Writer
    effort: Effort
    index_seconds: float

    @property
    def answered(self) -> tuple[HeldOutQuestion, ...]:
        """The questions that are answered in words."""
        return self.sheet.questions[: self.effort.num_answers]

    def ask(self, model: DecoderModel, ways: Sequence[Way]) -> dict[Way, WayAnswers]:
        """Let one model answer in these ways; where little is asked, in words and in two alone."""
        made: dict[Way, WayAnswers] = {}
        for way in ways:
            is_asked = self.effort.num_choices or way in _ALWAYS
            examinee = Examinee(
                model=model,
                sheet=self.sheet,
                tokenizer=self.writer.tokenizer,
                effort=self.effort if is_asked else _SILENCE,
            )
            made[way] = examinee.answer(way)
        return made


def open_questioning(
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    dataset: Dataset,
    corpus: Corpus,
    recipe: EvaluateRecipe,
    stage: StageFolder,
) -> Questioning:
    """Prepare the questions of a run.

    Args:
        plan: its virtual tokens need room.
        spec: whose tokenizer and template write the prompts.
        tuned: how much was trained, which bounds what questions may cost.
        dataset: its questions, and solved examples of its training split.
        corpus: what is searched.
        recipe: how much is asked.
        stage: of the evaluation; the search index is in it for a while.
    """
    lines = stage.open(dataset.questions_file).read_text(encoding="utf-8").splitlines()
    questions = [HeldOutQuestion.model_validate_json(line) for line in lines]
    tokenizer = load_tokenizer(Path(spec.folder))
    lead = plan.rank if plan.method == "prompt" else 0
    kept_free = max(OPTION_TOKENS, recipe.answer_tokens) + lead
    writer = Writer(
        tokenizer=tokenizer,
        template=ChatTemplate(load_chat_template(Path(spec.folder)), tokenizer),
        room=max(1, min(spec.context, _MAX_ROOM) - kept_free),
        shots=tuple(_read_shots(stage.open(dataset.train.folder))),
        system=questions[0].system if questions else "",
    )
    index_file = stage.folder / "search.db"
    started = time.perf_counter()
    sheet = write_sheet(
        questions[: max(recipe.num_choices, recipe.num_questions)],
        stage.open(corpus.documents_file),
        index_file,
        writer,
    )
    index_file.unlink()  # the text of all documents once more, for nobody
    most = int(recipe.questions_share * _TRAINING_PASSES * tuned.num_tokens)
    num_choices = choose_number(sheet, recipe.num_choices, most)
    spoken = num_choices // _CHOICES_PER_ANSWER or len(sheet.questions)
    return Questioning(
        sheet=sheet,
        writer=writer,
        effort=Effort(
            num_choices=num_choices,
            num_answers=min(recipe.num_questions, spoken),
            answer_tokens=recipe.answer_tokens,
        ),
        index_seconds=time.perf_counter() - started,
    )


def choose_number(sheet: Sheet, most: int, max_tokens: int) -> int:
    """Questions that are answered by choice: as many as their tokens allow.

    None where they leave fewer than a comparison needs: it would cost much and tell nothing.

    Args:
        sheet: what could be asked.
        most: at most so many.
        max_tokens: that all ways may read together.
    """
    wanted = number = min(most, len(sheet.questions))
    while number and sheet.count_tokens(number) > max_tokens:
        number -= 1
    return number if number == wanted or number >= MIN_QUESTIONS else 0


def _read_shots(train: Path) -> Iterator[tuple[int, ...]]:
    """Short conversations of the training split, each from another document."""
    split = open_token_file(train)
    seen: set[int] = set()
    for start, length, document, kind, _ in split.examples_E5.tolist():
        if kind == ANSWER and length <= _SHOT_TOKENS and document not in seen:
            seen.add(document)
            yield tuple(split.tokens_N[start : start + length].tolist())
        if len(seen) == _MAX_SHOTS:
            return
