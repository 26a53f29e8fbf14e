"""Checks of what a base wrote. Oracle: read by a person, case by case."""

import pytest

from appliance.asking.grounds import judge_answer, judge_question, read_question

PASSAGE = (
    "The controller accepts a calibration of the P40 only between 52 and 62 mV per pH. "
    "Is the slope lower? Then replace the electrode cartridge within two weeks."
)


def test_first_question_is_taken_out_of_what_was_said():
    said = "Sure! Which slope does the P40 accept? It is 52 to 62. What else is there?"
    assert read_question(said) == "Which slope does the P40 accept?"
    assert read_question("The controller accepts it.") == ""


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ("Which slope does the controller accept?", None),
        ("", "no question"),
        ("Is the slope lower?", "copied"),
        ("What does this text say about the cartridge?", "not self-contained"),
        ("When must it be replaced?", "not self-contained"),
        ("Who won the football match yesterday?", "not of this text"),
    ],
)
def test_questions_are_judged(question: str, fault: str | None):
    assert judge_question(question, PASSAGE) == fault


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("Between 52 and 62 mV per pH.", None),
        ("Replace the electrode cartridge within two weeks.", None),
        ("Between 52 and 65 mV per pH.", "answer not in the text"),
        ("A green elephant in the garden.", "answer not in the text"),
        ("cartridge calibration controller electrode", "answer not in the text"),
        ("The slope the controller accepts.", "answer is the question"),
        ("It is.", "no answer"),
    ],
)
def test_answers_are_judged(answer: str, fault: str | None):
    question = "Which slope does the controller accept?"
    assert judge_answer(answer, question, PASSAGE) == fault
