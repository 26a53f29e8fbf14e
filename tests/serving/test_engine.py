import json
import os
import shutil
import subprocess
import sys

import pytest
from exported_model import EMBEDDED, get_folder
from transformers import AutoTokenizer

from appliance.errors import BundleError, UsageError
from appliance.serving.engine import Engine, fit_rows
from appliance.values import Turn

QUESTION = [Turn(role="user", content="How is the pump started?")]


def run(stream):
    """All pieces of a reply, and why it ended."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value.reason


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
    engine = Engine(get_folder("fp32"), threads=1)
    assert "".join(run(engine.stream_reply(QUESTION, 16, stop_loops=False))[0]) == expected
    engine.close()


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


def test_engine_uses_the_template_of_the_tuning_when_the_base_brought_none(tmp_path):
    """Oracle: the template that `dataset/template.py` tuned with."""
    folder = tmp_path / "no-template"
    shutil.copytree(get_folder("int4"), folder)
    (folder / "chat_template.jinja").unlink()
    engine = Engine(folder, threads=1)
    assert engine.encode_prompt(QUESTION) == engine.encode_text(
        f"Question: {QUESTION[0].content}\nAnswer:"
    )
    engine.close()


def test_engine_refuses_a_template_that_breaks_down(tmp_path):
    folder = tmp_path / "bad-template"
    shutil.copytree(get_folder("int4"), folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    engine = Engine(folder, threads=1)
    with pytest.raises(BundleError, match="chat template") as caught:
        next(engine.stream_reply(QUESTION))
    assert caught.value.why
    engine.close()


def test_stream_reply_reads_only_what_is_new_in_a_conversation(make_engine):
    engine = make_engine()
    turns = list(QUESTION)
    pieces, _ = run(engine.stream_reply(turns, 12))
    turns += [Turn(role="assistant", content="".join(pieces)), Turn(role="user", content="Why?")]
    stream = engine.stream_reply(turns, 12)
    text, num_cached = "", None
    while num_cached is None:
        try:
            text += next(stream)
        except StopIteration as done:
            num_cached = done.value.num_cached
    assert num_cached == len(engine.encode_prompt(QUESTION))
    assert text == "".join(run(make_engine().stream_reply(turns, 12))[0])


def test_stream_reply_can_be_left_and_begun_again(make_engine):
    engine = make_engine()
    whole, _ = run(engine.stream_reply(QUESTION, 12, stop_loops=False))
    stream = engine.stream_reply(QUESTION, 400, stop_loops=False)
    next(stream)
    stream.close()
    assert engine.scheduler.num_running == 0
    again, _ = run(engine.stream_reply(QUESTION, 12, stop_loops=False))
    assert "".join(again) == "".join(whole)


@pytest.mark.parametrize(
    ("context", "budget", "expected"),
    [
        (1_000, 10**9, (8, 1_000)),
        (1_000, 30_000, (3, 1_000)),
        (1_000, 9_990, (1, 999)),
        (1_000, 2_560, (1, 256)),
        (1_000, 2_550, (0, 0)),
        (100_000, 8_000_000, (8, 100_000)),
        (100_000, 4_000_000, (8, 50_000)),
        (100_000, 500_000, (6, 8_333)),
        (100_000, 50_000, (1, 5_000)),
    ],
)
def test_fit_rows_shortens_conversations_then_has_fewer(context, budget, expected):
    """Oracle: by hand; eight rows wanted, ten bytes a position, 8,192 positions are enough."""
    assert fit_rows(8, context, 10, budget) == expected


def test_engine_needs_neither_torch_nor_transformers_and_disables_telemetry():
    code = """
import os, sys
from pathlib import Path
from appliance.serving.engine import Engine
from appliance.values import Turn
engine = Engine(Path(sys.argv[1]), threads=1)
list(engine.stream_reply([Turn(role="user", content="hello")], 3))
engine.close()
heavy = {"torch", "transformers"} & set(sys.modules)
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
