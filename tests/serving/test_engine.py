import json
import os
import shutil
import subprocess
import sys

import pytest
from exported_model import EMBEDDED, get_folder
from transformers import AutoTokenizer

from appliance.errors import BundleError, UsageError
from appliance.serving.engine import Engine, is_looping
from appliance.values import Turn

QUESTION = [Turn(role="user", content="How is the pump started?")]


def run(stream):
    """All pieces of a reply, and why it ended."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def test_stream_reply_streams_the_same_answer_every_time(engine):
    pieces, stop = run(engine.stream_reply(QUESTION, 12, stop_loops=False))
    again, _ = run(engine.stream_reply(QUESTION, 12, stop_loops=False))
    assert pieces == again
    assert stop in ("length", "end")
    assert len(pieces) <= 12


def test_stream_reply_is_greedy_decoding_of_the_exported_model():
    """Oracle: transformers' own greedy decoding of the base that was exported."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    messages = [turn.model_dump() for turn in QUESTION]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0]
    expected = tokenizer.decode(ids[prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    stream = Engine(get_folder("fp32"), threads=1).stream_reply(QUESTION, 16, stop_loops=False)
    assert "".join(run(stream)[0]) == expected


def test_encode_prompt_gives_the_ids_of_the_original_tokenizer(engine):
    turns = [
        Turn(role="system", content="Answer briefly."),
        Turn(role="user", content='Größe "1.5 µm"?\n\tπ ≈ 3,14 — 日本 🙂'),
        Turn(role="assistant", content="No."),
        Turn(role="user", content="Why?"),
    ]
    expected = AutoTokenizer.from_pretrained(EMBEDDED).apply_chat_template(
        [turn.model_dump() for turn in turns], add_generation_prompt=True, return_dict=False
    )
    assert engine.encode_prompt(turns) == expected


def test_stream_reply_stops_at_max_tokens(engine):
    pieces, _ = run(engine.stream_reply(QUESTION, 3, stop_loops=False))
    assert len(pieces) <= 3


def fill(engine, num_tokens):
    """A conversation of exactly so many tokens."""
    words = num_tokens
    while len(engine.encode_prompt([Turn(role="user", content=" the" * words)])) > num_tokens:
        words -= 1
    return [Turn(role="user", content=" the" * words)]


def test_stream_reply_stops_at_the_end_of_the_context(engine):
    turns = fill(engine, engine.context - 4)
    room = engine.context - len(engine.encode_prompt(turns))
    pieces, stop = run(engine.stream_reply(turns, 100, stop_loops=False))
    assert 0 < room <= 6
    assert len(pieces) <= room
    assert stop in ("context", "end")


def test_stream_reply_refuses_a_conversation_that_is_too_long(engine):
    turns = [Turn(role="user", content=" the" * 1_100)]
    with pytest.raises(UsageError, match="tokens, too many for this model") as caught:
        next(engine.stream_reply(turns))
    assert "1,1" in caught.value.what
    assert "1,024" in caught.value.why
    assert "shorten" in caught.value.fix


def test_stream_reply_ends_an_answer_that_repeats_itself(engine):
    turns = [Turn(role="user", content="the number of the number of the number of the number of")]
    _, free = run(engine.stream_reply(turns, 400, stop_loops=False))
    pieces, stop = run(engine.stream_reply(turns, 400))
    if free == "length":  # whether this base falls into a loop depends on its weights
        assert stop in ("loop", "length")
    assert len(pieces) <= 400


def test_stream_reply_can_sample(engine):
    pieces, _ = run(engine.stream_reply(QUESTION, 5, temperature=1.0))
    assert len(pieces) <= 5


@pytest.mark.parametrize(
    ("token_ids", "expected"),
    [
        ([1] * 48, True),
        ([1] * 47, False),
        ([9, 9, 9, *([1, 2, 3] * 16)], True),
        (list(range(30)) * 4, True),
        (list(range(30)) * 3, False),
        (list(range(200)), False),
        ([], False),
    ],
)
def test_is_looping_finds_four_rounds_of_a_cycle(token_ids, expected):
    assert is_looping(token_ids) is expected


def test_engine_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(BundleError, match="cannot be loaded") as caught:
        Engine(tmp_path)
    assert caught.value.why
    assert "appliance verify" in caught.value.fix


def test_engine_refuses_a_damaged_graph(tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(get_folder("int4"), folder)
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Engine(folder)


def test_engine_refuses_a_model_without_a_chat_template(tmp_path):
    folder = tmp_path / "no-template"
    shutil.copytree(get_folder("int4"), folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(BundleError, match="no chat template") as caught:
        next(Engine(folder, threads=1).stream_reply(QUESTION))
    assert caught.value.why


def test_engine_needs_neither_torch_nor_transformers_and_disables_telemetry():
    code = """
import os, sys
from pathlib import Path
from appliance.serving.engine import Engine
from appliance.values import Turn
engine = Engine(Path(sys.argv[1]), threads=1)
list(engine.stream_reply([Turn(role="user", content="hello")], 3))
heavy = {"torch", "transformers", "onnx"} & set(sys.modules)
assert not heavy, heavy
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", code, str(get_folder("int4"))], check=True, env=environment
    )


def test_genai_config_names_the_end_of_an_answer():
    config = json.loads((get_folder("int4") / "genai_config.json").read_text())
    assert config["model"]["eos_token_id"] == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_engine_opens_no_connection(tmp_path):
    """ONNX Runtime looks up a telemetry host within seconds, and hides that when CI is set."""
    code = """
import sys, time
from pathlib import Path
from appliance.serving.engine import Engine
from appliance.values import Turn
engine = Engine(Path(sys.argv[1]), threads=1)
list(engine.stream_reply([Turn(role="user", content="hello")], 3))
time.sleep(12)
"""
    log = tmp_path / "strace"
    trace = ["strace", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(log)]
    subprocess.run(
        [*trace, sys.executable, "-c", code, str(get_folder("int4"))],
        check=True,
        env={k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")},
    )
    assert "AF_INET" not in log.read_text()
