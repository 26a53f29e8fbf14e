"""`appliance bases`. Oracle: the keys that scripts rely on, the store, and a real terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.bases import catalogue
from appliance.bases.known import list_known
from appliance.cli.bases import bases
from appliance.errors import BaseModelError, UsageError
from tests.bases.hub import write_cached
from tests.bases.model_folder import write_model
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("APPLIANCE_BASES", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(catalogue, "SYSTEM_STORE", tmp_path / "system")
    return tmp_path / "store"


def run(*arguments: object):
    return CliRunner().invoke(bases, [str(argument) for argument in arguments])


def read(*arguments: object) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def start(*arguments: object, **options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "appliance", "bases", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, **options)


def test_list_shows_present_ones_first_then_known_ones(store, tmp_path):
    write_model(store / "Org--tiny")
    write_cached(tmp_path / "hub", "Org/cached")
    body = read("list")
    assert [(row["name"], row["where"]) for row in body["present"]] == [
        ("embedded", "package"),
        ("Org/tiny", "store"),
        ("Org/cached", "cache"),
    ]
    assert [row["name"] for row in body["known"]] == [known.name for known in list_known()]
    for row in (*body["present"], *body["known"]):
        assert row["needs"]["gpu_bytes"] > 0 and row["needs"]["export_bytes"] > 0
        assert row["commercial"] in ("yes", "no", "conditional", "unknown")

    text = run("list").stdout
    assert text.index("embedded") < text.index("Org/tiny") < text.index("Qwen/Qwen3-0.6B")


def test_list_hides_what_cannot_be_used_unless_asked():
    short, full = run("list").stdout, run("list", "--all").stdout
    for name in ("Qwen/Qwen2.5-3B-Instruct", "openai/gpt-oss-20b"):
        assert name not in short
        assert name in full
    assert "research and evaluation only" in full
    assert "GptOssForCausalLM was not proven right in the exporter" in full
    assert "3 that cannot be used as they are: --all" in short


def test_known_base_that_is_present_is_not_offered_again(tmp_path):
    write_cached(tmp_path / "hub", "Qwen/Qwen3-0.6B")
    body = read("list")
    assert "Qwen/Qwen3-0.6B" in [row["name"] for row in body["present"]]
    assert "Qwen/Qwen3-0.6B" not in [row["name"] for row in body["known"]]


def test_list_tells_broken_ones_and_those_only_for_the_asking(store):
    (write_model(store / "bad") / "tokenizer.json").unlink()
    (write_model(store / "closed") / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    result = run("list")
    assert "Broken     bad: " in result.stdout and "has no tokenizer.json" in result.stdout
    assert "cc-by-nc-4.0 (no) · only by name" in result.stdout
    present = {row["name"]: row for row in read("list")["present"]}
    assert "has no tokenizer.json" in present["bad"]["broken"]
    assert "forbids commercial use" in present["closed"]["not_offered"]


def test_show_tells_a_known_base_and_how_to_bring_it():
    body = read("show", "Qwen/Qwen3-8B")
    assert (body["num_parameters"], body["licence"]) == (8_190_735_360, "apache-2.0")
    assert body["config"]["hidden_size"] == 4096
    text = run("show", "qwen/qwen3-8b").stdout
    assert "8.2 B parameters" in text
    assert "commercial use permitted" in text
    assert "https://huggingface.co/Qwen/Qwen3-8B" in text
    assert "appliance bases add PATH/Qwen3-8B --name Qwen/Qwen3-8B" in text


def test_show_tells_a_present_base(store):
    write_model(store / "Org--tiny")
    assert read("show", "Org/tiny")["where"] == "store"
    text = run("show", "Org/tiny").stdout
    assert "2 layers" in text and str(store / "Org--tiny") in text
    assert "Use        --base Org/tiny" in text


def test_show_of_nothing_names_the_nearest():
    error = run("show", "Qwen3-0.7B").exception
    assert isinstance(error, BaseModelError)
    assert "Qwen/Qwen3-0.6B" in error.why


def test_add_verify_remove(store, tmp_path):
    folder = write_model(tmp_path / "tiny")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "optimizer.pt").write_bytes(b"pickle")

    added = run("add", folder, "--yes", "--name", "Org/tiny")

    assert added.exit_code == 0, added.output
    assert "Apache License 2.0 · commercial use permitted" in added.stderr
    assert "optimizer.pt: a pickle can run any program" in added.stderr
    assert added.stdout.startswith("Added      Org/tiny · 4 files")
    assert "appliance tune ./company_docs --base Org/tiny" in added.stdout
    assert run("verify", "Org/tiny").stdout.startswith("Intact     Org/tiny · 4 files")
    body = read("verify", "Org/tiny")
    assert body["intact"] and len(body["files"]) == 4
    weights = store / "Org--tiny" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert "sha256 of model.safetensors" in run("verify", "Org/tiny").exception.why
    assert run("remove", "Org/tiny", "--yes").exit_code == 0
    assert [path.name for path in store.iterdir()] == [".lock"]


def test_add_prints_its_manifest_as_json(tmp_path):
    body = read("add", write_model(tmp_path / "tiny"), "--yes")
    assert body["name"] == "tiny"
    assert {"name", "num_bytes", "sha256"} == body["files"][0].keys()


def test_add_and_remove_want_a_yes_where_nobody_can_be_asked(store, tmp_path):
    error = run("add", write_model(tmp_path / "tiny")).exception
    assert isinstance(error, UsageError)
    assert "--yes" in error.fix
    assert not store.exists()
    write_model(store / "tiny")
    assert isinstance(run("remove", "tiny").exception, UsageError)
    assert (store / "tiny").is_dir()


@pytest.mark.parametrize("name", ["embedded", "Org/cached"])
def test_remove_leaves_what_is_in_no_store(name, tmp_path):
    write_cached(tmp_path / "hub", "Org/cached")
    error = run("remove", name, "--yes").exception
    assert isinstance(error, BaseModelError)
    assert "is not in a store" in error.what
    assert read("show", name)["name"] == name


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_person_is_asked_on_a_terminal(answer, code, store, tmp_path):
    folder = write_model(tmp_path / "tiny")
    leader, follower = pty.openpty()
    process = start("add", folder, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = read_until(leader, b"Add tiny? [Y/n]")
    assert b"Licence" in shown and b"100 %" in shown

    os.write(leader, answer)

    assert process.wait(timeout=60) == code
    os.close(leader)
    assert (store / "tiny").is_dir() == (code == 0)


def test_request_to_end_leaves_nothing(store, tmp_path):
    leader, follower = pty.openpty()
    folder = write_model(tmp_path / "tiny")
    process = start("add", folder, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    read_until(leader, b"Add tiny? [Y/n]")

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=60) == 130
    os.close(leader)
    assert [path.name for path in store.iterdir()] == [".lock"]


def test_help_shows_an_example():
    for arguments in ((), ("add",)):
        assert "    appliance bases add" in run(*arguments, "--help").output


def test_nothing_heavy_is_imported():
    script = (
        "import sys\n"
        "from appliance.cli.main import cli\n"
        "cli.main(['bases', 'list', '--all'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'numpy', 'safetensors', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Read a terminal until something stands on it."""
    shown, deadline = b"", time.monotonic() + 60
    while wanted not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(descriptor, 4096)
    return shown
