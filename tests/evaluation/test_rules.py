"""Overlap of answers and rules of form; expected values by hand."""

from __future__ import annotations

import pytest

from appliance.errors import RecipeError
from appliance.evaluation.overlap import is_exact, measure_rouge_l, stands_in
from appliance.evaluation.rules import is_refusal, keeps_rule
from appliance.recipe import load_recipe


def test_rouge_l_counts_words_in_the_same_order():
    # "the desk books" is common to both, of 4 and 5 words: 2 * 3 / 9
    assert measure_rouge_l("the desk books it", "the café desk books hotels") == pytest.approx(
        2 / 3
    )
    assert measure_rouge_l("b a", "a b") == pytest.approx(0.5)
    assert measure_rouge_l("", "a b") == 0


def test_exact_forgives_case_and_punctuation_alone():
    assert is_exact("The Café desk.", "the café desk")
    assert not is_exact("the desk", "the café desk")
    assert not is_exact("", "")


def test_an_answer_stands_in_a_text_word_for_word():
    assert stands_in("thirty days", "returned within\nthirty days.")
    assert not stands_in("thirty day", "within thirty days")


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("json: name, price", '{"name": "a", "price": 1}', '{"name": "a"}'),
        ("json:", "[1]", "not json"),
        ("sections: Cause, Remedy", "## Cause\nrust\nRemedy: oil", "Remedy: oil\nCause: rust"),
        ("language: de", "Der Sensor ist nicht defekt.", "The sensor is not broken."),
        ("use: please", "Please wait.", "Displease nobody."),
        ("avoid: cheap, sorry", "A fair price.", "Sorry, no."),
        ("words: 3", "one two three", "one two three four"),
    ],
)
def test_rule_tells_kept_from_broken(rule, kept, broken):
    assert keeps_rule(rule, kept)
    assert not keeps_rule(rule, broken)


@pytest.mark.parametrize(
    "answer", ["I do not know.", "I don't know that.", "There is no information."]
)
def test_refusal_is_recognised(answer):
    assert is_refusal(answer)


def test_answer_is_no_refusal():
    assert not is_refusal("The sensor may be returned within thirty days.")


def test_recipe_refuses_a_rule_that_cannot_be_checked():
    assert load_recipe(None, ('evaluate.rules=["words: 80"]',)).evaluate.rules == ("words: 80",)
    with pytest.raises(RecipeError, match=r"evaluate\.rules"):
        load_recipe(None, ('evaluate.rules=["tone: nice"]',))
