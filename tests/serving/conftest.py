"""What the serving tests share: the embedded base as a graph, as a bundle, and behind a server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.offline import go_offline

go_offline()
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "export")]


@pytest.fixture(scope="session")
def folder():
    """The embedded base in int4."""
    from exported_model import get_folder

    return get_folder("int4")


@pytest.fixture(scope="session")
def engine(folder):
    from appliance.serving.engine import Engine

    engine = Engine(folder, threads=1)
    yield engine
    engine.close()


@pytest.fixture
def make_engine(folder):
    """Engines with an empty cache, closed after the test."""
    from appliance.serving.engine import Engine

    with contextlib.ExitStack() as stack:

        def make(**options):
            engine = Engine(folder, threads=1, **options)
            stack.callback(engine.close)
            return engine

        yield make


@pytest.fixture(scope="session")
def packed():
    from packed_bundle import get_bundle

    return get_bundle()


class Serving:
    """`appliance serve` in a process of its own."""

    def __init__(self, *arguments, environment=None, python=()):
        self.process = subprocess.Popen(
            [sys.executable, *python, "-m", "appliance", "serve", *map(str, arguments), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        )
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start: {self.process.communicate()[1]}")
        ready = json.loads(line)
        self.address = ready["address"]
        self.root = self.address.removesuffix("/v1")
        self.model = ready["models"][0]
        self.models = ready["models"]

    def stop(self, number=signal.SIGTERM):
        """Stop it; its exit code, and what it wrote on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture(scope="session")
def serving(packed):
    """A server that many tests share."""
    server = Serving(packed, "--port", 0, "--threads", 1)
    yield server
    code, errors = server.stop()
    assert (code, errors) == (0, "")


@pytest.fixture
def start_serving(packed):
    """Servers of one test."""
    servers = []

    def start(*arguments, **options):
        servers.append(Serving(*(arguments or (packed,)), "--threads", 1, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def client(serving):
    from openai import OpenAI

    with OpenAI(base_url=serving.address, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def with_search():
    """A bundle that carries a search index over three documents."""
    from packed_bundle import get_search_bundle

    return get_search_bundle()


@pytest.fixture(scope="session")
def searching_engine(with_search):
    from appliance.serving.engine import Engine

    engine = Engine(with_search, threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def searching(with_search):
    """A client of a server of that bundle, and the name of its model."""
    from openai import OpenAI

    server = Serving(with_search, "--port", 0, "--threads", 1)
    with OpenAI(base_url=server.address, api_key="unused", max_retries=0) as client:
        yield client, server.model
    assert server.stop() == (0, "")
