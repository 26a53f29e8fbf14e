"""A child that is asked, and what it may do to us. Oracle: the process table."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import appliance
from appliance.hardware import ask, probe
from appliance.offline import OFFLINE

LIMIT = 1.0
PATIENCE = 30.0
"""For what does not take long, on a busy machine."""


def run(script, *arguments, seconds=LIMIT):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    with ask.running(command, seconds) as asked:
        return asked.read()


def has_ended(pid):
    """Waits for the end of any process; one that nobody has reaped yet has ended too."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    ended = poll.poll(1000 * PATIENCE)
    os.close(handle)
    return bool(ended)


def test_answer_is_read():
    assert run("print('yes')", seconds=PATIENCE) == ask.Answer(text="yes\n")


@pytest.mark.parametrize(
    "does",
    [
        "time.sleep(600)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    ],
)
def test_child_that_says_nothing_is_ended(does):
    command = [sys.executable, "-c", f"import os, signal, time; {does}"]

    with ask.running(command, LIMIT) as asked:
        process = asked._process
        answer = asked.read()

    assert answer.fault == "no answer within 1 s"
    assert process is not None and has_ended(process.pid)


@pytest.mark.parametrize(
    ("does", "how"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("raise RuntimeError('broken library')", "exit code 1"),
    ],
)
def test_child_that_dies_says_how(does, how):
    answer = run(f"import os, signal; print('half', flush=True); {does}", seconds=PATIENCE)

    assert answer == ask.Answer(fault=f"its process ended with {how}")


def test_flood_is_cut_off():
    answer = run("while True: print('x' * 65536)", seconds=PATIENCE)

    assert answer.fault.startswith("its answer is longer than 1048576 bytes")


def test_child_that_closes_its_output_and_goes_on_is_ended():
    answer = run("import os, time; os.close(1); time.sleep(600)")

    assert answer.fault == "its process does not end"


def test_what_the_child_started_dies_with_it(tmp_path):
    """A grandchild keeps the output open: the end of the child alone would not be the end."""
    script = """
        import subprocess, sys
        child = subprocess.Popen(["sleep", "600"])
        open(sys.argv[1], "w").write(str(child.pid))
    """

    answer = run(script, tmp_path / "pid", seconds=5 * LIMIT)

    assert answer.fault == "no answer within 5 s"
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_child_dies_with_the_block_that_asked():
    with ask.running([sys.executable, "-c", "import time; time.sleep(600)"], PATIENCE) as asked:
        process = asked._process
    assert process is not None
    assert process.poll() == -signal.SIGKILL


def test_command_that_cannot_be_started_is_a_fault():
    with ask.running(["/not/there"], LIMIT) as asked:
        assert asked.read().fault == "its process cannot be started"


def test_child_is_offline_and_imports_nothing_from_where_the_person_stands(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)

    answer = run("import json, os; print(json.dumps(dict(os.environ)))", seconds=PATIENCE)

    assert all(f'"{key}": "{value}"' in answer.text for key, value in OFFLINE.items())


@pytest.fixture
def write_driver(tmp_path, monkeypatch):
    """Puts a module in the place of NVIDIA's library, for children."""

    def write(text):
        (tmp_path / "pynvml.py").write_text(textwrap.dedent(text))
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")

    return write


HANGS = """
    import time
    class NVMLError(Exception): pass
    def nvmlInit(): time.sleep(600)
"""


def test_driver_that_hangs_is_told_from_one_that_answers(write_driver, monkeypatch):
    write_driver(HANGS)
    monkeypatch.setattr(probe, "DRIVER_SECONDS", LIMIT)

    assert probe.ask_driver().fault == "no answer within 1 s"


def test_driver_that_kills_its_process_is_a_fault(write_driver):
    write_driver(HANGS.replace("time.sleep(600)", "__import__('os').abort()"))

    assert probe.ask_driver().fault == "its process ended with signal 6"


def test_driver_that_answers_is_understood(write_driver):
    write_driver(
        """
        print("noise of a library")
        from tests.hardware.fake_nvml import FakeNvml, NVMLError
        _fake = FakeNvml(slices=[10], processes=[(7, 2**30)])
        def __getattr__(name): return getattr(_fake, name)
        """
    )

    driver = probe.ask_driver()

    assert driver.fault == ""
    assert [card.uuid for card in driver.cards] == ["GPU-0abc", "GPU-1abc"]
    assert driver.cards[0].holders[0].name == "python3"


def test_child_ends_by_itself_when_its_parent_is_gone(write_driver):
    write_driver(HANGS)
    command = [sys.executable, "-m", "appliance.hardware.answer", "gpus", "0.1", "{}"]

    done = subprocess.run(
        command, timeout=60, check=False, cwd=Path(appliance.__file__).parent.parent
    )

    assert done.returncode == -signal.SIGALRM
