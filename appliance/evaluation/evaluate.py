"""The evaluation stage: base against tuned on documents that were not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from appliance.dataset.template import ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.dataset.tokens import ANSWER, PASSAGE, TokenFile, open_token_file
from appliance.evaluation.answers import generate_answers, measure_overlap
from appliance.evaluation.scores import ExampleScores, bootstrap_improvement, score_examples
from appliance.events import Progress
from appliance.files import write_text
from appliance.recipe import EvaluateRecipe
from appliance.rundir import StageFolder
from appliance.tuning.method import load_for, load_tuned, untuned
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.tuning.sample import choose_examples
from appliance.values import (
    BaseSpec,
    Dataset,
    EvalReport,
    HeldOutQuestion,
    Score,
    TrainPlan,
    TunedModel,
)

Judged = tuple[ExampleScores, list[str]]
"""Scores of the test split, and answers to the held-out questions."""


def evaluate(
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    dataset: Dataset,
    recipe: EvaluateRecipe,
    stage: StageFolder,
) -> EvalReport:
    """Score the base and the tuned model on the test split, and let both answer questions.

    "Base" is the model that was trained on, with the trained weights switched off: what tuning
    did, and nothing else, is the difference.

    Args:
        plan: tells the method.
        spec: the base model.
        tuned: the trained weights.
        dataset: its test split and questions.
        recipe: how much is scored and asked.
        stage: the answers are kept in it.

    Returns:
        Both scores, and how sure their difference is.
    """
    torch.set_num_threads(plan.threads)
    split = open_token_file(stage.open(dataset.test.folder))
    rows = choose_examples(split, recipe.max_tokens)
    questions = [
        HeldOutQuestion.model_validate_json(line)
        for line in stage.open(dataset.questions_file).read_text(encoding="utf-8").splitlines()
    ][: recipe.num_questions]
    tokenizer = load_tokenizer(Path(spec.folder))
    template = ChatTemplate(load_chat_template(Path(spec.folder)), tokenizer)
    prompts = [template.render_prompt(question.turns) for question in questions]

    def judge(model: DecoderModel, done: int) -> Judged:
        stage.on_event(Progress(stage="evaluate", done=done, total=2, unit="models"))
        scores = score_examples(model, split, rows, plan.sequence_length)
        return scores, _answer(model, tokenizer, prompts, recipe.answer_tokens)

    model = load_tuned(spec, plan, stage.open(tuned.folder))
    after = judge(model, 0)
    if plan.method == "full":
        before = judge(wrap_model(load_for(spec, plan).eval()), 1)
    else:
        with untuned(model) as base:
            before = judge(base, 1)
    _keep_answers(stage, questions, before[1], after[1])
    return compare(before, after, questions, split, rows, stage)


def _answer(
    model: DecoderModel, tokenizer: TextTokenizer, prompts: list[str], num_tokens: int
) -> list[str]:
    ids = [
        [*model.lead_ids, *tokenizer.chat.encode(prompt, add_special_tokens=False).ids]
        for prompt in prompts
    ]
    end = tokenizer.chat.token_to_id(tokenizer.eos_token) if tokenizer.eos_token else None
    answers = generate_answers(model, ids, num_tokens, end)
    return [tokenizer.chat.decode(answer).strip() for answer in answers]


def _keep_answers(
    stage: StageFolder, questions: list[HeldOutQuestion], before: list[str], after: list[str]
) -> None:
    rows = [
        question.model_dump() | {"base": base, "tuned": tuned}
        for question, base, tuned in zip(questions, before, after, strict=True)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(stage.folder / "answers.jsonl", lines)


def compare(
    before: Judged,
    after: Judged,
    questions: list[HeldOutQuestion],
    split: TokenFile,
    rows: list[int],
    stage: StageFolder,
) -> EvalReport:
    """Both scores side by side, and how sure their difference is.

    Args:
        before: what the base made of the rows, and its answers.
        after: what the tuned model did.
        questions: that were answered.
        split: what was scored.
        rows: which examples of it.
        stage: where the answers are.
    """
    improvement, low, high = bootstrap_improvement(before[0], after[0])
    has_text = bool((before[0].kinds_E == PASSAGE).any())
    text = bootstrap_improvement(before[0], after[0], PASSAGE) if has_text else (None, None, None)
    return EvalReport(
        base=_score(before, questions),
        tuned=_score(after, questions),
        num_documents=len(set(split.examples_E5[rows, 2].tolist())),
        num_labels=int(before[0].labels_E.sum()),
        improvement=improvement,
        improvement_low=low,
        improvement_high=high,
        text_improvement=text[0],
        text_improvement_low=text[1],
        text_improvement_high=text[2],
        answers_file=stage.locate("answers.jsonl"),
    )


def _score(judged: Judged, questions: list[HeldOutQuestion]) -> Score:
    scores, answers = judged
    overlaps = [
        measure_overlap(answer, question.answer)
        for answer, question in zip(answers, questions, strict=True)
    ]
    loss = scores.mean_loss()
    return Score(
        loss=0.0 if loss is None else loss,
        text_loss=scores.mean_loss(PASSAGE),
        answer_loss=scores.mean_loss(ANSWER),
        bits_per_byte=scores.bits_per_byte(),
        answer_f1=sum(overlaps) / len(overlaps) if overlaps else None,
    )
