import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from appliance.cli.chat import Speaker, _answer, _converse, chat, count_speed
from appliance.cli.verify import verify
from appliance.errors import BundleError, UsageError


def invoke(command, *arguments, **options):
    return CliRunner().invoke(command, [str(entry) for entry in arguments], **options)


def test_chat_prints_only_the_answer_on_stdout(packed):
    result = invoke(chat, packed, "-m", "How is the pump started?", "--max-tokens", 4)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.endswith("\n")


def test_chat_takes_the_run_in_place_of_the_bundle(packed):
    ours = invoke(chat, packed.parent, "-m", "Hello", "--max-tokens", 4)
    assert ours.stdout == invoke(chat, packed, "-m", "Hello", "--max-tokens", 4).stdout


def test_chat_json_gives_the_answer_that_is_printed_otherwise(packed):
    plain = invoke(chat, packed, "-m", "Hello", "--max-tokens", 4).stdout
    body = json.loads(invoke(chat, packed, "-m", "Hello", "--max-tokens", 4, "--json").stdout)
    assert body["answer"] + "\n" == plain
    assert body["stop"] in ("end", "length", "loop")


def test_chat_converses_until_exit(packed):
    result = invoke(
        chat, packed, "--max-tokens", 3, input="Hello\n\n/new\nAnd you?\n/exit\nnot read\n"
    )
    assert result.exit_code == 0
    assert result.stdout.count("\n") >= 2
    assert result.stderr.count("/exit") == 2  # the greeting, and the help that the empty line asks


def test_chat_ends_with_the_input(packed):
    assert invoke(chat, packed, "--max-tokens", 2, input="Hello\n").exit_code == 0


def test_chat_goes_on_after_a_question_that_is_too_long(packed):
    result = invoke(chat, packed, "--max-tokens", 2, input=" the" * 1_100 + "\nHello\n")
    assert result.exit_code == 0
    assert "too many for this model" in result.stderr
    assert "/new" in result.stderr
    assert result.stdout


def test_chat_takes_any_bytes_from_a_pipe(packed):
    result = invoke(chat, packed, "--max-tokens", 2, input=b"caf\xe9\nHello\n")
    assert result.exit_code == 0


def test_chat_tells_figures_as_json(packed):
    body = json.loads(invoke(chat, packed, "-m", "Hello", "--max-tokens", 4, "--json").stdout)
    assert 0 <= body["tokens"] <= 4
    assert body["tokens_per_second"] >= 0
    assert "beside" not in body


def test_chat_lets_another_bundle_answer_beside(packed, tmp_path):
    other = tmp_path / "other-run" / "bundle"
    shutil.copytree(packed, other)
    result = invoke(chat, packed, "-m", "Hello", "--max-tokens", 4, "--beside", other)
    first, second = result.stdout.splitlines()
    assert first.removeprefix(f"{packed.parent.name}: ") == second.removeprefix("other-run: ")
    arguments = (chat, packed, "-m", "Hello", "--max-tokens", 4, "--beside", other, "--json")
    body = json.loads(invoke(*arguments).stdout)
    assert body["answer"] == body["beside"]["other-run"]["answer"]


def test_chat_tells_two_bundles_of_one_name_apart(packed):
    body = json.loads(
        invoke(chat, packed, "-m", "Hello", "--max-tokens", 2, "--beside", packed, "--json").stdout
    )
    assert list(body["beside"]) == [f"{packed.parent.name} (2)"]


def test_chat_says_that_the_base_is_not_in_the_bundle(packed):
    result = invoke(chat, packed, "-m", "Hello", "--base")
    assert isinstance(result.exception, UsageError)
    assert "tuned model alone" in result.exception.why
    assert "--beside" in result.exception.fix


@pytest.mark.parametrize(
    ("num_tokens", "first", "seconds", "expected"),
    [(11, 1.0, 3.0, 5.0), (1, 1.0, 1.0, 0.0), (0, None, 1.0, 0.0)],
)
def test_count_speed_leaves_the_first_token_out(num_tokens, first, seconds, expected):
    """Oracle: ten tokens in two seconds."""
    from appliance.serving.answer import End

    end = End(
        reason="end",
        num_prompt=5,
        num_cached=0,
        num_tokens=num_tokens,
        wait_seconds=0.0,
        first_seconds=first,
        seconds=seconds,
    )
    assert count_speed(end) == expected


class InterruptedEngine:
    """An engine during whose answers Ctrl-C is pressed."""

    def __init__(self):
        self.seen = []

    def stream_reply(self, turns, max_tokens):
        self.seen.append([turn.content for turn in turns])
        yield "half of "
        raise KeyboardInterrupt


def make_speaker():
    return Speaker(name="it", label="it", engine=InterruptedEngine())


def test_chat_stops_an_answer_and_goes_on_at_ctrl_c(monkeypatch, capsys):
    speaker = make_speaker()
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    _converse([speaker], 10)
    assert speaker.engine.seen == [["one"], ["one", "half of ", "two"]]
    assert capsys.readouterr().out == "half of \nhalf of \n"


def test_chat_with_a_question_leaves_at_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        _answer(make_speaker(), 10, is_named=False)


def test_chat_refuses_json_without_a_question(packed):
    result = invoke(chat, packed, "--json")
    assert isinstance(result.exception, UsageError)
    assert "-m" in result.exception.fix


@pytest.fixture
def damaged(packed, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(packed, folder)
    content = bytearray((folder / "model.onnx.data").read_bytes())
    content[1000] ^= 4
    (folder / "model.onnx.data").write_bytes(content)
    return folder


def test_chat_refuses_a_damaged_bundle_before_it_loads_it(damaged):
    result = invoke(chat, damaged, "-m", "Hello")
    assert isinstance(result.exception, BundleError)
    assert "model.onnx.data" in result.exception.what
    assert result.stdout == ""


def test_verify_says_what_the_bundle_is(packed):
    result = invoke(verify, packed.parent)
    assert result.exit_code == 0
    assert "Intact" in result.stdout
    assert "embedded · qlora · int4" in result.stdout


def test_verify_json_reports_the_same(packed):
    body = json.loads(invoke(verify, packed, "--json").stdout)
    assert body["intact"] is True
    assert body["num_files"] == 17
    assert body["precision"] == "int4"


def test_verify_raises_for_a_damaged_bundle(damaged):
    result = invoke(verify, damaged)
    assert isinstance(result.exception, BundleError)
    assert result.exception.exit_code == 10


@pytest.mark.parametrize("command", [chat, verify])
def test_help_shows_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"appliance {command.name} runs/" in result.stdout


def test_importing_the_verbs_imports_nothing_heavy():
    code = """
import sys
import appliance.cli.chat, appliance.cli.verify
heavy = {"torch", "transformers", "numpy", "onnx", "onnxruntime", "onnxruntime_genai"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
