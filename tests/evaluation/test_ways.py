"""Ways of answering: by hand calculations, plain forward passes, and reading the prompts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from appliance.dataset.template import ChatTemplate, load_chat_template
from appliance.dataset.tokenizer import load_tokenizer
from appliance.evaluation.likelihood import score_options
from appliance.evaluation.questioning import choose_number
from appliance.evaluation.recommend import MIN_QUESTIONS
from appliance.evaluation.sheet import INSTRUCTION, UNANSWERABLE, Writer, write_sheet
from appliance.evaluation.ways import (
    BASE_WAYS,
    Effort,
    Examinee,
    WayAnswers,
    measure_beaten,
    measure_trust,
)
from appliance.evaluation.ways_report import compare_ways, keep_answers, score_ways
from appliance.tuning.load import load_base
from appliance.tuning.model import wrap_model
from appliance.values import Document, HeldOutQuestion, Turn
from tests.conftest import EMBEDDED
from tests.tuning.conftest import tiny_folder  # noqa: F401  (a fixture)

WAYS = (*BASE_WAYS, "tuned", "tuned+search")


def make_writer(room=600, shots=()):
    tokenizer = load_tokenizer(EMBEDDED)
    template = ChatTemplate(load_chat_template(EMBEDDED), tokenizer)
    return Writer(tokenizer=tokenizer, template=template, room=room, shots=shots)


def make_conversation(question, answer):
    return (Turn(role="user", content=question), Turn(role="assistant", content=answer))


QUESTIONS = [
    HeldOutQuestion(question="Who books hotels?", answer="the café desk", source="travel.md"),
    HeldOutQuestion(question="What hums?", answer="the old pump", source="tickets.csv"),
    HeldOutQuestion(question="What leaks?", answer="a worn valve", source="tickets.csv"),
]
DOCUMENTS = [
    Document(
        number=0, source="travel.md", title="Travel", text="Hotels are booked by the café desk.\n"
    ),
    Document(
        number=1,
        source="tickets.csv",
        title="Tickets",
        text="",
        conversations=(
            make_conversation("What hums?", "the old pump"),
            make_conversation("What leaks?", "a worn valve"),
            make_conversation("What hums and leaks?", "the boiler"),
        ),
    ),
]


@pytest.fixture
def sheet(tmp_path):
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(each.model_dump_json() + "\n" for each in DOCUMENTS))
    return write_sheet(QUESTIONS, documents, tmp_path / "search.db", make_writer())


def read_prompt(sheet, way, number):
    return load_tokenizer(EMBEDDED).chat.decode(sheet.prompts[way][number])


def test_likelihoods_of_options_are_those_of_separate_passes(tiny_folder):  # noqa: F811
    model = wrap_model(
        load_base(tiny_folder, quantized=False, device="cpu", compute_dtype="float32").eval()
    )
    prompt, options = [5, 9, 2, 40], [(7,), (8, 3, 8), (7, 60)]

    nats = score_options(model, prompt, options)

    for option, measured in zip(options, nats, strict=True):
        row = torch.tensor([[*prompt, *option]])
        logits_TV = model.module(row).logits[0].log_softmax(dim=-1)
        places = range(len(prompt) - 1, len(prompt) - 1 + len(option))
        expected = -sum(
            logits_TV[place, token].item() for place, token in zip(places, option, strict=True)
        )
        assert measured == pytest.approx(expected, rel=1e-4)


def test_score_of_a_question_is_the_share_of_wrong_answers_that_gain_less():
    assert measure_beaten([2.0, 1.0, 3.0, 0.0, -1.0]) == pytest.approx(0.75)
    assert measure_beaten([1.0, 1.0, 1.0]) == pytest.approx(0.5)  # the question was not read
    assert measure_beaten([1.0]) == pytest.approx(0.5)  # nothing to choose from


def test_trust_is_bayes_rule_with_equal_priors():
    # twice as likely through the question against half as likely: 4 to 1
    assert measure_trust([math.log(2), math.log(0.5)]) == pytest.approx([0.8, 0.2])


def test_the_conversation_of_a_question_is_hidden_from_search_and_its_document_is_not(sheet):
    shown = [[passage.text for passage in passages] for passages in sheet.found]

    assert any("café desk" in text for text in shown[0])
    assert any("boiler" in text for text in shown[1])
    assert not any("old pump" in text or "worn valve" in text for texts in shown for text in texts)


def test_a_conversation_is_a_document_of_its_own(sheet):
    assert len(set(sheet.documents)) == 3


def test_options_begin_with_the_right_answer_and_are_distinct(sheet):
    tokenizer = load_tokenizer(EMBEDDED)

    for question, options in zip(QUESTIONS, sheet.options, strict=True):
        assert tokenizer.chat.decode(options[0]).strip() == question.answer
        assert len(set(options)) == len(options) == 3


def test_each_way_asks_in_its_own_words(sheet):
    assert set(sheet.prompts) == set(WAYS)
    assert sheet.prompts["base"] == sheet.prompts["tuned"]
    assert sheet.prompts["search"] == sheet.prompts["tuned+search"]
    assert INSTRUCTION in read_prompt(sheet, "prompt", 0)
    assert "café desk" in read_prompt(sheet, "search", 0)
    assert "café desk" not in read_prompt(sheet, "base", 0)
    assert UNANSWERABLE[-1] in read_prompt(sheet, "base", -1)


def test_passages_that_find_no_room_are_left_out(tmp_path):
    writer = make_writer(room=60)
    document = DOCUMENTS[0].model_copy(update={"text": "Hotels. " * 200})
    (tmp_path / "documents.jsonl").write_text(document.model_dump_json() + "\n")

    sheet = write_sheet(QUESTIONS, tmp_path / "documents.jsonl", tmp_path / "search.db", writer)

    assert sheet.found[0]
    assert sheet.prompts["search"][0] == sheet.prompts["base"][0]


def test_solved_examples_stand_before_a_prompt_as_far_as_half_the_room():
    shots = ((1, 2, 3), tuple(range(400)), (4, 5))

    ids = make_writer(shots=shots).write("Why?", "prompt", ())

    assert ids[:5] == (1, 2, 3, 4, 5)


def test_fewer_questions_are_asked_where_they_would_cost_more_than_allowed(sheet):
    times = 1 + 2 * MIN_QUESTIONS // len(sheet.questions)
    longer = replace(
        sheet,
        questions=times * sheet.questions,
        options=times * sheet.options,
        prompts={way: times * prompts for way, prompts in sheet.prompts.items()},
    )
    for number in (MIN_QUESTIONS, MIN_QUESTIONS + 3):
        assert choose_number(longer, 64, longer.count_tokens(number)) == number
    assert choose_number(longer, MIN_QUESTIONS + 1, 10**9) == MIN_QUESTIONS + 1
    assert choose_number(longer, 64, longer.count_tokens(MIN_QUESTIONS) - 1) == 0
    assert choose_number(sheet, 64, 10**9) == len(sheet.questions)


def test_a_model_answers_by_choice_and_in_words(sheet):
    model = wrap_model(
        load_base(EMBEDDED, quantized=False, device="cpu", compute_dtype="float32").eval()
    )
    effort = Effort(num_choices=3, num_answers=2, answer_tokens=2)
    tokenizer = load_tokenizer(EMBEDDED)
    examinee = Examinee(model=model, sheet=sheet, tokenizer=tokenizer, effort=effort)

    answers = examinee.answer("search")

    assert len(answers.beaten) == 3
    assert len(answers.answers) == 2
    assert len(answers.to_unanswerable) == 2
    assert answers.beaten[0] == 1.0  # the answer stands in the passage: even a tiny base sees it


def make_answers(beaten, answers=()):
    return WayAnswers(
        beaten=beaten, trust=(0.5,) * 3, is_right=tuple(b == 1 for b in beaten), answers=answers
    )


def test_report_compares_all_ways_and_scores_what_was_shown(sheet):
    answers = {way: make_answers((1.0, 0.5, 0.0)) for way in WAYS}

    scores = {score.name: score for score in score_ways(sheet, answers, ())}
    asked = compare_ways(sheet, answers, 0.1)

    assert asked is not None
    assert len(asked.comparisons) == 10
    assert all(row.difference == 0 and row.p_value == 1 for row in asked.comparisons)
    assert scores["base"].score == pytest.approx(0.5)
    assert scores["base"].accuracy == pytest.approx(1 / 3)
    assert scores["base"].citation is None
    assert scores["search"].citation == pytest.approx(1.0)  # the csv is found by its other row
    assert scores["search"].answer_shown == pytest.approx(1 / 3)


def test_nothing_asked_is_no_report(sheet):
    assert score_ways(sheet, {"base": WayAnswers(beaten=(), trust=(), is_right=())}, ()) == ()
    assert compare_ways(sheet, {}, 0.0) is None


def test_answers_are_kept_best_and_worst_first(sheet, tmp_path: Path):
    base = make_answers((0.5,) * 3, ("the café desk", "nothing", "who knows"))
    tuned = make_answers((0.5,) * 3, ("nothing", "the old pump", "who cares"))
    answers = {"base": base, "tuned": tuned}

    keep_answers(tmp_path / "answers.jsonl", sheet, answers)

    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == ["What hums?", "Who books hotels?", "What leaks?"]
    assert rows[0]["tuned"] == "the old pump"
    assert rows[0]["gain"] == pytest.approx(1.0)
