"""kill -9 of a server of a bundle in the middle of answers: `kill_server` gives the figures.

Oracle: the answers of a server that nobody disturbed, and the signed list of the bundle's files.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.verify import verify_bundle
from appliance.errors import BundleError
from tests.conftest import ROOT

NUM_TOKENS = 48
QUESTIONS = ("What is a valve?", "Who calibrates the sensor?", "When is the invoice due?")


@dataclass(kw_only=True, slots=True)
class ServerKillFigures:
    """What became of the answers.

    Attributes:
        kills: of the server.
        whole: answers that came to their end; each is that of an undisturbed server.
        cut: answers that were cut off, and showed it: they lack the line that ends an answer.
        changed: answers, whole or cut, that are no beginning of the right one.
        lost: questions that no server ever answered.
        damaged: 1 if the bundle is no longer what its manifest says.
        longest_start_seconds: from a start to its readiness.
        seconds: of the whole campaign.
    """

    kills: int = 0
    whole: int = 0
    cut: int = 0
    changed: int = 0
    lost: int = 0
    damaged: int = 0
    longest_start_seconds: float = 0.0
    seconds: float = 0.0


def kill_server(bundle: Path, *, kills: int, seed: int) -> ServerKillFigures:
    """Kill a server at random moments while a client asks; a new one takes its place.

    Args:
        bundle: what it serves.
        kills: how often.
        seed: of the moments.
    """
    began, chance = time.monotonic(), random.Random(seed)
    figures = ServerKillFigures()
    server = _Server(bundle)
    expected = {question: server.ask(question) for question in QUESTIONS}
    assert all(is_whole for _, is_whole in expected.values()), "the undisturbed answer is cut"
    server.kill()
    for number in range(kills):
        question = QUESTIONS[number % len(QUESTIONS)]
        server = _Server(bundle)
        right = expected[question][0]
        figures.changed += server.ask(question) != expected[question]  # and it is warm now
        figures.longest_start_seconds = max(figures.longest_start_seconds, server.start_seconds)
        timer = threading.Timer(chance.uniform(0, 1.5 * server.answer_seconds), server.kill)
        timer.start()
        text, is_whole = server.ask(question)
        timer.join()
        server.kill()
        figures.kills += 1
        figures.whole += is_whole
        figures.cut += not is_whole
        figures.changed += text != right if is_whole else not right.startswith(text)
    server = _Server(bundle)
    answers = {question: server.ask(question) for question in QUESTIONS}
    server.kill()
    figures.lost = sum(answers[question] != expected[question] for question in QUESTIONS)
    figures.damaged = _is_damaged(bundle)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _is_damaged(bundle: Path) -> bool:
    try:
        verify_bundle(bundle)
    except BundleError:
        return True
    return False


class _Server:
    """`appliance serve` in a process of its own."""

    def __init__(self, bundle: Path) -> None:
        began = time.monotonic()
        command = [sys.executable, "-m", "appliance", "serve", str(bundle), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--threads", "1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.host = ready["address"].removeprefix("http://").removesuffix("/v1")
        self.model = ready["models"][0]
        self.start_seconds = round(time.monotonic() - began, 2)
        self.answer_seconds = 0.0

    def ask(self, question: str) -> tuple[str, bool]:
        """What came of a streamed answer, and whether its end came, too."""
        began = time.monotonic()
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": NUM_TOKENS,
            "temperature": 0,
            "stream": True,
        }
        text, is_whole = "", False
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            for line in connection.getresponse():
                if line == b"data: [DONE]\n":
                    is_whole = True
                elif line.startswith(b"data: "):
                    choices = json.loads(line[6:])["choices"]
                    text += choices[0]["delta"].get("content") or "" if choices else ""
        except (OSError, http.client.HTTPException, ValueError):
            pass  # it died in the middle of a word
        finally:
            connection.close()
        self.answer_seconds = time.monotonic() - began
        return text, is_whole

    def kill(self) -> None:
        """kill -9; a second time does nothing."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
