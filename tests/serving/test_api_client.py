"""The API as the official client of OpenAI sees it, against a server in a process of its own."""

import concurrent.futures
import itertools
import json
import re

import openai
import pytest

QUESTION = [{"role": "user", "content": "How is the pump started?"}]
QUESTIONS = [
    [{"role": "user", "content": f"What does the handbook say about {word}?"}]
    for word in ("leave", "pumps", "letters", "filters", "contracts", "valves", "pay", "illness")
]
NO_END = {"3": -100}  # the end of a turn: answers then have the length that is asked for


def ask(client, serving, messages=QUESTION, **options):
    options = {"max_tokens": 16, "logit_bias": NO_END} | options
    return client.chat.completions.create(model=serving.model, messages=messages, **options)


def read(stream):
    """Text, finish reason and usage of a stream."""
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    return text, reasons[-1], [c.usage for c in chunks]


def test_models_are_listed_under_the_names_of_their_runs(client, serving, packed):
    (model,) = client.models.list()
    assert model.id == serving.model == packed.parent.name
    assert client.models.retrieve(serving.model).max_model_len == 1024


def test_chat_answers_with_usage_and_reason(client, serving):
    """Oracle for the tokens of the prompt: the base's own tokenizer and template."""
    from exported_model import EMBEDDED
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(EMBEDDED).apply_chat_template(
        QUESTION, add_generation_prompt=True, return_dict=False
    )
    reply = ask(client, serving)
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.prompt_tokens == len(expected)
    assert reply.usage.completion_tokens == 16
    assert reply.usage.total_tokens == len(expected) + 16


def test_chat_says_what_the_engine_says(client, serving, engine):
    from appliance.values import Turn

    turns = [Turn(role="user", content=QUESTION[0]["content"])]
    expected = "".join(engine.stream_reply(turns, 30, stop_loops=False))
    assert (
        ask(client, serving, max_tokens=30, logit_bias=None).choices[0].message.content == expected
    )


def test_a_stream_gives_the_same_text(client, serving):
    whole = ask(client, serving, max_tokens=40)
    text, reason, usages = read(ask(client, serving, max_tokens=40, stream=True))
    assert text == whole.choices[0].message.content
    assert reason == "length"
    assert usages == [None] * len(usages)


def test_a_stream_tells_usage_when_asked(client, serving):
    options = {"include_usage": True}
    _, _, usages = read(ask(client, serving, stream=True, stream_options=options))
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1].completion_tokens == 16


def test_completions_go_on_with_a_text(client, serving):
    options = {"model": serving.model, "prompt": "The pump", "logit_bias": NO_END}
    reply = client.completions.create(**options, max_tokens=9)
    assert reply.object == "text_completion"
    assert reply.usage.completion_tokens == 9
    stream = client.completions.create(**options, max_tokens=9, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == reply.choices[0].text


def test_completions_take_token_ids(client, serving, engine):
    ids = engine.encode_text("The pump")
    options = {"model": serving.model, "max_tokens": 5}
    by_ids = client.completions.create(**options, prompt=ids).choices[0].text
    assert by_ids == client.completions.create(**options, prompt="The pump").choices[0].text
    assert by_ids == client.completions.create(**options, prompt=["The pump"]).choices[0].text


def test_completions_have_sixteen_tokens_by_default(client, serving):
    """Oracle: OpenAI's reference."""
    reply = client.completions.create(model=serving.model, prompt="The", logit_bias=NO_END)
    assert reply.usage.completion_tokens == 16


@pytest.mark.parametrize("is_streamed", [False, True])
def test_stop_strings_end_an_answer_wherever_they_lie(client, serving, is_streamed):
    whole = ask(client, serving, max_tokens=40).choices[0].message.content
    for start, size in itertools.product(range(5, 40, 7), (1, 4, 9)):
        stop = whole[start : start + size]
        reply = ask(client, serving, max_tokens=40, stop=["never", stop], stream=is_streamed)
        if is_streamed:
            text, reason, _ = read(reply)
        else:
            text, reason = reply.choices[0].message.content, reply.choices[0].finish_reason
        assert text == whole[: whole.find(stop)]
        assert reason == "stop"


def test_an_answer_that_ends_by_itself_says_stop(client, serving, engine):
    ends = {str(token): -100 for token in range(engine.vocab_size) if token != 3}
    reply = ask(client, serving, logit_bias=dict(list(ends.items())[:1000]) | {"3": 100})
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].message.content == ""
    assert reply.usage.completion_tokens == 0


def test_a_seed_gives_the_same_answer_again(client, serving):
    options = {"temperature": 1.0, "seed": 5, "max_tokens": 24}
    texts = {ask(client, serving, **options).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1
    others = {
        ask(client, serving, **(options | {"seed": seed})).choices[0].message.content
        for seed in range(4)
    }
    assert len(others) > 1


def test_without_a_temperature_the_answer_is_the_most_likely(client, serving):
    first = ask(client, serving).choices[0].message.content
    for options in (
        {"temperature": 0},
        {"top_p": 0},
        {"temperature": 1, "extra_body": {"top_k": 1}},
    ):
        assert ask(client, serving, **options).choices[0].message.content == first


def test_logprobs_are_those_of_the_tokens(client, serving):
    reply = ask(client, serving, logprobs=True, top_logprobs=3)
    scores = reply.choices[0].logprobs.content
    assert len(scores) == reply.usage.completion_tokens
    assert "".join(score.token for score in scores) == reply.choices[0].message.content
    for score in scores:
        assert len(score.top_logprobs) == 3
        assert score.top_logprobs[0].logprob >= score.logprob
        assert bytes(score.bytes).decode() == score.token
        assert score.logprob <= 0


def test_logprobs_of_a_stream_are_the_same(client, serving):
    whole = ask(client, serving, logprobs=True).choices[0].logprobs.content
    chunks = ask(client, serving, logprobs=True, stream=True)
    parts = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
    assert list(itertools.chain(*parts)) == whole


def test_logprobs_of_a_completion_say_where_tokens_begin(client, serving):
    reply = client.completions.create(model=serving.model, prompt="The", logprobs=2, max_tokens=6)
    choice = reply.choices[0]
    for token, offset in zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True):
        assert choice.text[offset:].startswith(token)
    assert all(len(top) == 2 for top in choice.logprobs.top_logprobs)


def test_an_answer_fits_a_json_schema(client, serving):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"enum": [1, 2]}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    reply = ask(
        client,
        serving,
        max_tokens=100,
        logit_bias=None,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    value = json.loads(reply.choices[0].message.content)
    assert set(value) == {"name", "age"}
    assert value["age"] in (1, 2)


def test_an_answer_fits_an_expression(client, serving):
    options = {"structured_outputs": {"regex": "(yes|no)!"}}
    reply = ask(client, serving, extra_body=options, logit_bias=None)
    assert re.fullmatch("(yes|no)!", reply.choices[0].message.content)


def test_an_answer_is_a_json_object_when_that_is_all_that_is_asked(client, serving):
    reply = ask(
        client, serving, response_format={"type": "json_object"}, logit_bias=None, max_tokens=200
    )
    assert reply.choices[0].message.content.startswith("{")


def test_eight_clients_get_the_answers_of_one(client, serving):
    def one(messages):
        return ask(client, serving, messages, max_tokens=32).choices[0].message.content

    expected = [one(messages) for messages in QUESTIONS]
    assert len(set(expected)) > 4
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(one, QUESTIONS)) == expected
        streams = pool.map(
            lambda q: read(ask(client, serving, q, max_tokens=32, stream=True))[0], QUESTIONS
        )
        assert list(streams) == expected


def test_a_conversation_is_read_from_where_it_is_new(client, serving):
    messages = list(QUESTIONS[3])
    first = ask(client, serving, messages)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "Why?"},
    ]
    second = ask(client, serving, messages)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 2


def test_special_tokens_in_a_message_are_text(client, serving):
    plain = ask(client, serving, [{"role": "user", "content": "a"}]).usage.prompt_tokens
    armed = ask(client, serving, [{"role": "user", "content": "a<|im_end|>"}]).usage.prompt_tokens
    assert armed > plain + 1


def test_too_long_a_conversation_is_refused_as_openai_does(client, serving):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, serving, [{"role": "user", "content": "the " * 2000}])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert "1024" in caught.value.message


def test_an_answer_ends_with_the_context(client, serving):
    reply = ask(client, serving, [{"role": "user", "content": "the " * 990}], max_tokens=5000)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.total_tokens == 1024


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"extra_body": {"repetition_penalty": 1.1}}, "repetition_penalty"),
        ({"extra_body": {"chat_template": "{{ 1 }}"}}, "chat_template"),
        (
            {"response_format": {"type": "json_object"},
             "extra_body": {"structured_outputs": {"regex": "a"}}},
            "structured_outputs",
        ),
        ({"extra_body": {"structured_outputs": {"regex": "("}}}, "response_format"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused(client, serving, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, serving, **options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_what_means_nothing_here_is_taken(client, serving):
    reply = ask(
        client,
        serving,
        user="someone",
        store=False,
        metadata={"a": "b"},
        n=1,
        parallel_tool_calls=True,
        tool_choice="none",
    )
    assert reply.choices[0].message.content
