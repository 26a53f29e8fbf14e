"""Base and tuned model side by side: real models, one question at a time, over when nobody waits.

Oracle: what transformers' own `generate` says for the base, and the promises of decision 0041.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from appliance.beside.orders import Question
from appliance.beside.voices import Talk, Told, choose_quantized
from appliance.errors import ResourceError
from appliance.values import Turn
from appliance.web.beside import Beside
from tests.web.conftest import BASE, TEXT_CANARY, log_in

QUESTION = Question(text="What stands in the procedure?", max_tokens=24, search=True)


class Clock:
    """Time that passes when a model works."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def test_speed_is_that_of_the_models_own_time(monkeypatch):
    from appliance.beside import voices

    clock = Clock()
    monkeypatch.setattr(voices, "time", clock)

    def say():
        clock.now += 3.0  # reads the question
        for _ in range(4):
            yield "a"
            clock.now += 0.5
        return Told(reason="end", num_tokens=5, first_seconds=3.0)

    talk = Talk(say(), handicap=7.0)
    while talk.told is None:
        talk.advance()
        clock.now += 100.0  # the others' turn

    assert talk.own_seconds == 5.0
    assert talk.turn == 12.0
    assert talk.count_speed() == 2.0  # four tokens after the first, in two seconds


@pytest.fixture(scope="module")
def spec(office):
    from appliance.values import BaseSpec

    run = Path(office.daemon.show(office.job)["run"])
    receipt = json.loads((run / "receipts" / "base.json").read_text())
    return BaseSpec.model_validate(receipt["value"]["spec"])


def test_base_is_held_in_four_bit_only_where_it_must_be(spec):
    work, size = 2**30, spec.num_parameters

    assert choose_quantized(spec, size * 4 + work) is False
    assert choose_quantized(spec, size * 4 + work - 1) is True
    with pytest.raises(ResourceError, match="needs"):
        choose_quantized(spec, work)


def test_base_says_what_transformers_would_say(spec):
    import torch

    from appliance.beside.voices import BaseVoice

    voice = BaseVoice(spec)
    turns = [Turn(role="user", content=QUESTION.text)]
    try:
        said = "".join(voice.say(turns, 24))
        ids = voice._encode(turns)
        with torch.inference_mode():
            row = voice._model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=24,
                do_sample=False,
            )[0, len(ids) :].tolist()
        expected = voice._tokenizer.chat.decode([i for i in row if i not in voice._ends])
    finally:
        voice.close()

    assert said == expected != ""


def collect(lines, who):
    return "".join(row["text"] for row in lines if row["kind"] == "text" and row["who"] == who)


@pytest.fixture(scope="module")
def told(office):
    """One person asks and leaves, asks again and stays; another asks elsewhere meanwhile."""

    async def run():
        beside, other = Beside(), Beside()
        folder = Path(office.daemon.show(office.job)["run"])
        try:
            async with contextlib.aclosing(beside.ask(folder, QUESTION)) as lines:
                first = json.loads(await anext(lines))
            was_busy = beside._is_busy
            await beside._settling
            free_again, left = not beside._is_busy, beside._process
            answers = [json.loads(line) async for line in beside.ask(folder, QUESTION)]
            elsewhere = [json.loads(line) async for line in other.ask(folder, QUESTION)]
            child = beside._process
        finally:
            await beside.close()
            await other.close()
        return {
            "first": first,
            "settled": (was_busy, free_again),
            "same child": left is child,
            "answers": answers,
            "elsewhere": elsewhere,
            "ended": child.returncode,
        }

    return asyncio.run(run())


def test_both_models_answer(told):
    ends = {row["who"]: row for row in told["answers"] if row["kind"] == "end"}

    assert set(ends) == {"base", "tuned"}
    for who, end in ends.items():
        assert collect(told["answers"], who).strip()
        assert 1 <= end["num_tokens"] <= 24
        assert end["speed"] > 0
    assert told["answers"][-1]["kind"] == "done"


def test_whoever_leaves_ends_the_answer_and_the_next_one_need_not_wait_for_the_models(told):
    assert told["first"]["kind"] == "doing"
    assert told["settled"] == (True, True)
    assert told["same child"]


def test_second_place_on_a_machine_is_refused_with_a_way_out(told):
    kinds = [row["kind"] for row in told["elsewhere"]]

    assert kinds == ["refused", "done"]
    assert "somebody else" in told["elsewhere"][0]["error"]["what"]
    assert told["elsewhere"][0]["error"]["fix"]


def test_child_ends_with_the_dashboard(told):
    assert told["ended"] is not None


def test_second_question_is_told_to_come_back(visit, desk, office):
    desk.beside._is_busy = True

    answer = visit("run").post(f"/api/jobs/{office.job}/answers", json={"question": "why?"})

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "body",
    [{}, {"question": ""}, {"question": "x" * 4001}, {"question": "x", "max_tokens": 10**6}],
)
def test_odd_question_is_refused_before_anything_is_loaded(visit, desk, office, body):
    answer = visit("run").post(f"/api/jobs/{office.job}/answers", json=body)

    assert answer.status_code == 400
    assert desk.beside._process is None


def test_question_needs_the_scope_run_and_a_page_of_ours(visit, desk, office):
    path, body = f"/api/jobs/{office.job}/answers", {"question": "why?"}
    browser = visit()
    log_in(browser, desk, "run")

    assert visit().post(path, json=body).status_code == 401
    assert visit("read").post(path, json=body).status_code == 403
    assert browser.post(path, json=body, headers={"origin": BASE}).status_code == 403


def test_job_without_a_bundle_has_nothing_to_ask(visit, office, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("text")
    job = office.daemon.submit(tmp_path / "docs")["id"]

    answer = visit("run").post(f"/api/jobs/{job}/answers", json={"question": "why?"})

    assert answer.status_code == 400
    assert "no model" in answer.json()["error"]["what"]


def test_question_is_in_no_log(visit, desk, office, capfd):
    desk.beside._is_busy = True
    client = visit("run")
    client.post(f"/api/jobs/{office.job}/answers", json={"question": TEXT_CANARY})

    desk.beside._is_busy = False
    client.post("/api/jobs/999/answers", json={"question": TEXT_CANARY})
    logged = office.daemon.log.read_text() + "".join(capfd.readouterr())
    audit = desk.folder / "audit.jsonl"

    assert TEXT_CANARY not in logged + (audit.read_text() if audit.exists() else "")
