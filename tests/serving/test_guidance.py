import json
import re

import pytest

from appliance.serving.guidance import Grammar, GrammarRefusal
from appliance.values import Turn

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def answer(engine, grammar, **options):
    from appliance.serving.answer import Task

    pieces = []
    ids = engine.encode_prompt([Turn(role="user", content="Who are you?")])
    task = Task(
        prompt_ids=tuple(ids),
        room=engine.context - len(ids),
        max_tokens=200,
        guide=engine.make_guide(grammar),
        **options,
    )
    engine.submit(task, pieces.append)
    while engine.scheduler.advance():
        pass
    return "".join(piece.text for piece in pieces), pieces[-1].end


def test_an_answer_fits_its_schema(engine):
    text, end = answer(engine, Grammar(kind="json", source=json.dumps(SCHEMA)))
    value = json.loads(text)
    assert set(value) == {"name", "age", "tags"}
    assert len(value["name"]) <= 10
    assert 0 <= value["age"] <= 99
    assert set(value["tags"]) <= {"a", "b"}
    assert end.reason == "end"


def test_an_answer_fits_its_expression(engine):
    text, end = answer(engine, Grammar(kind="regex", source="(yes|no), [0-9]{3}"))
    assert re.fullmatch("(yes|no), [0-9]{3}", text)
    assert end.reason == "end"


def test_a_sampled_answer_fits_too(engine):
    from appliance.serving.sampling import Sampling

    for seed in range(5):
        sampling = Sampling(temperature=2.0, seed=seed)
        grammar = Grammar(kind="regex", source="[a-c]{5}")
        text, _ = answer(engine, grammar, sampling=sampling)
        assert re.fullmatch("[a-c]{5}", text)


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar(kind="regex", source="("),
        Grammar(kind="json", source='{"type": "nothing"}'),
        Grammar(kind="json", source='{"$ref": "https://example.org/schema"}'),
        Grammar(kind="json", source='{"type": "string", "pattern": "("}'),
    ],
)
def test_make_guide_refuses_what_is_no_grammar(engine, grammar):
    with pytest.raises(GrammarRefusal) as caught:
        engine.make_guide(grammar)
    assert "\n" not in str(caught.value)


def test_a_grammar_that_needs_too_much_ends_the_answer(engine):
    _, end = answer(engine, Grammar(kind="regex", source="a{1000000000}"))
    assert end.reason == "grammar"
