"""What serving costs: the server beside the bare engine, and the ways to serve several clients.

    scripts/bench serve RUN_OR_BUNDLE [MORE…] --json FILE

Every figure comes from a process of its own with one thread, so that its processor time is what an
undisturbed core would need; the time of the clock, which a busy machine stretches, stands beside
it. Requests have random prompts and lengths, the same for all, and no answer ends by itself.
"""

from __future__ import annotations

import http.client
import json
import queue
import resource
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from serve_options import OPTIONS, Genai, Option, list_eos, read_config  # noqa: E402

from appliance.offline import go_offline  # noqa: E402

PROMPT_TOKENS = (16, 256)
ANSWER_TOKENS = (16, 96)
SINGLE = (512, 128)
"""Tokens read and written by one client alone."""

NEWCOMER = (128, 4, 160)
"""Tokens that a newcomer reads and writes while the others write so many."""

ROUNDS = 7

REPEATS = 3
"""A busy machine makes everything slower, never faster: the best of some repeats is kept."""

NEWCOMERS = 5

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a client asks for."""

    prompt: list[int]
    num_tokens: int


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--clients", multiple=True, type=int, default=(1, 4, 8), show_default=True)
@click.option("--requests", "num_requests", default=24, show_default=True)
@click.option("--without", multiple=True, type=click.Choice(list(OPTIONS)), help="Leave out.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
def main(
    bundles: tuple[Path, ...],
    clients: tuple[int, ...],
    num_requests: int,
    without: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Measure serving on this machine."""
    body = {}
    names = [name for name in (*OPTIONS, "server") if name not in without]
    for path in bundles:
        body[str(path)] = measure(find_folder(path), names, clients, num_requests)
        click.echo(f"\n{path}\n\n{make_tables(body[str(path)])}")
        if json_file:
            json_file.write_text(json.dumps(body, indent=1) + "\n")


def find_folder(path: Path) -> Path:
    """The folder of a graph, from itself or from its run."""
    inner = path / "bundle"
    return inner if inner.is_dir() else path


def measure(folder: Path, names: list[str], clients: tuple[int, ...], num_requests: int) -> Row:
    """All figures of one model."""
    figures: Row = {"single": {}, "load": {}, "newcomer": {}}
    singles = ("genai", "ours", "server", "server-stream")
    rounds = [{name: call("single", name, str(folder)) for name in singles} for _ in range(REPEATS)]
    for name in singles:
        figures["single"][name] = min(
            (each[name] for each in rounds), key=lambda row: row["processor_seconds"]
        )
    figures["load"] = {name: {} for name in names}
    for number in clients:
        for name in names:
            arguments = (name, str(folder), str(number), str(num_requests))
            figures["load"][name][number] = call("load", *arguments)
    for name in names:
        figures["newcomer"][name] = call("newcomer", name, str(folder), str(max(clients)))
    return figures


def call(what: str, *arguments: str) -> Row:
    """Measure one thing in a process of its own."""
    click.echo(f"{what} {' '.join(arguments)}", err=True)
    command = [sys.executable, __file__, "--child", what, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{what} {arguments} failed:\n{done.stderr}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def single(name: str, folder: Path) -> Row:
    """One client: read a prompt, write an answer; the median of some rounds."""
    requests = make_requests(folder, ROUNDS + 1, *SINGLE)  # new each time: nothing is reused
    if name.startswith("server"):
        server = Server(folder, 1)
        ask = server.stream if name == "server-stream" else server.ask
        row = repeat(ask, requests, server.processor_seconds)
        return row | {"beside_graph": server.stop()}
    if name == "genai":
        model = Genai(folder, 1)
        return repeat(lambda request: loop(model, request), requests, time.process_time)
    clock = GraphClock()
    option = OPTIONS[name](folder, 1, 1)
    before = time.process_time()
    row = repeat(lambda request: run(option, [request], 1), requests, time.process_time)
    beside = time.process_time() - before - clock.seconds
    return row | {"beside_graph": beside / clock.seconds}


def loop(model: Genai, request: Request) -> None:
    """The library's own loop."""
    generator = model.generate([request.prompt], [request.num_tokens])
    while not generator.is_done():
        generator.generate_next_token()
        generator.get_next_tokens()


def repeat(work: Any, requests: list[Request], read_clock: Any) -> Row:
    """Least processor seconds and seconds of a request, after one to warm up."""
    work(requests[0])
    spent, took = [], []
    for request in requests[1:]:
        before, start = read_clock(), time.perf_counter()
        work(request)
        spent.append(read_clock() - before)
        took.append(time.perf_counter() - start)
    return {
        "processor_seconds": min(spent),
        "seconds": min(took),
        "tokens_per_second": SINGLE[1] / min(took),
    }


def load(name: str, folder: Path, num_clients: int, num_requests: int) -> Row:
    """Clients that ask again as soon as they are answered, until all requests are done."""
    batches = [make_requests(folder, num_requests, seed=seed) for seed in range(REPEATS)]
    if name == "server":
        with Server(folder, num_clients) as server:
            rows = [load_server(server, batch, num_clients) for batch in batches]
            peak = server.peak_bytes()
    else:
        option = OPTIONS[name](folder, 1, num_clients)
        rows = [load_option(option, batch, num_clients) for batch in batches]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(rows, key=lambda row: row["tokens_per_processor_second"]) | {"peak_bytes": peak}


def load_option(option: Option, requests: list[Request], num_clients: int) -> Row:
    """In this process; waiting is told in processor seconds."""
    before, start = time.process_time(), time.perf_counter()
    firsts = run(option, requests, num_clients)
    return sum_up(requests, firsts, time.process_time() - before, time.perf_counter() - start)


def load_server(server: Server, requests: list[Request], num_clients: int) -> Row:
    """Over HTTP; waiting is told in seconds of the clock."""
    before, start = server.processor_seconds(), time.perf_counter()
    firsts = run_clients(server, requests, num_clients)
    spent, took = server.processor_seconds() - before, time.perf_counter() - start
    return sum_up(requests, firsts, spent, took)


def sum_up(requests: list[Request], firsts: list[float], spent: float, took: float) -> Row:
    """Rates, and how long clients waited for their first token."""
    num_tokens = sum(request.num_tokens for request in requests)
    return {
        "tokens_per_processor_second": num_tokens / spent,
        "tokens_per_second": num_tokens / took,
        "median_first_seconds": statistics.median(firsts),
        "worst_first_seconds": max(firsts),
    }


def newcomer(name: str, folder: Path, num_clients: int) -> Row:
    """Seconds to the first token: on an idle server, and beside all other clients."""
    num_read, num_written, num_others = NEWCOMER
    others = make_requests(folder, num_clients - 1, 64, num_others)
    mine = make_requests(folder, 2 * NEWCOMERS, num_read, num_written, seed=1)
    if name == "server":
        with Server(folder, num_clients) as server:
            return meet_server(server, others, mine)
    option = OPTIONS[name](folder, 1, num_clients)
    return meet(option, others, mine)


def meet(option: Option, others: list[Request], mine: list[Request]) -> Row:
    """The newcomer in this process; its times are processor seconds."""
    run(option, mine[:1], 1)
    idle = [run(option, [request], 1)[0] for request in mine[1:NEWCOMERS]]
    busy = []
    for request in mine[NEWCOMERS:]:
        for number, other in enumerate(others):
            option.submit(number, other.prompt, other.num_tokens)
        left = sum(other.num_tokens for other in others)
        begun: set[int] = set()
        while len(begun) < len(others):
            came = option.step()
            left -= len(came)
            begun |= {number for number, _ in came}
        option.submit(-1, request.prompt, request.num_tokens)
        start, first = time.process_time(), 0.0
        left += request.num_tokens
        while left:
            came = option.step()
            left -= len(came)
            if not first and any(number == -1 for number, _ in came):
                first = time.process_time() - start
        busy.append(first)
    return compare(idle, busy)


def meet_server(server: Server, others: list[Request], mine: list[Request]) -> Row:
    """The newcomer as a client; its times are those of the clock."""
    server.stream(mine[0])
    idle = [server.stream(request) for request in mine[1:NEWCOMERS]]
    busy = []
    for request in mine[NEWCOMERS:]:
        begun = threading.Semaphore(0)
        threads = [
            threading.Thread(target=server.stream, args=(other, begun.release)) for other in others
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            begun.acquire()
        busy.append(server.stream(request))
        for thread in threads:
            thread.join()
    return compare(idle, busy)


def compare(idle: list[float], busy: list[float]) -> Row:
    """Medians, and how much longer a newcomer waits."""
    alone, beside = statistics.median(idle), statistics.median(busy)
    return {"idle_seconds": alone, "busy_seconds": beside, "ratio": beside / alone}


def run(option: Option, requests: list[Request], num_clients: int) -> list[float]:
    """Answer all; processor seconds to the first token of each."""
    left = {number: request.num_tokens for number, request in enumerate(requests)}
    started: dict[int, float] = {}
    firsts: dict[int, float] = {}
    coming = iter(left)
    for number in [next(coming) for _ in range(min(num_clients, len(requests)))]:
        started[number] = time.process_time()
        option.submit(number, requests[number].prompt, requests[number].num_tokens)
    num_left = len(requests)
    while num_left:
        for number, _ in option.step():
            left[number] -= 1
            firsts.setdefault(number, time.process_time() - started[number])
            if left[number]:
                continue
            num_left -= 1
            following = next((other for other in coming if other not in started), None)
            if following is not None:
                started[following] = time.process_time()
                request = requests[following]
                option.submit(following, request.prompt, request.num_tokens)
    return list(firsts.values())


def run_clients(server: Server, requests: list[Request], num_clients: int) -> list[float]:
    """The same over HTTP; seconds of the clock to the first token."""
    coming: queue.SimpleQueue[Request] = queue.SimpleQueue()
    for request in requests:
        coming.put(request)
    firsts: list[float] = []

    def work() -> None:
        while True:
            try:
                request = coming.get_nowait()
            except queue.Empty:
                return
            firsts.append(server.stream(request))

    threads = [threading.Thread(target=work) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return firsts


class GraphClock:
    """Processor time that the graph itself takes, in the thread that runs it."""

    def __init__(self) -> None:
        """Stand between the scheduler and the graph."""
        from appliance.serving.decoder import SharedDecoder

        self.seconds = 0.0
        for name in ("read", "step"):
            setattr(SharedDecoder, name, self._measure(getattr(SharedDecoder, name)))

    def _measure(self, work: Any) -> Any:
        def measured(*arguments: Any) -> Any:
            start = time.thread_time()
            result = work(*arguments)
            self.seconds += time.thread_time() - start
            return result

        return measured


class Server:
    """The product's server in a process of its own."""

    def __init__(self, folder: Path, num_rows: int) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, __file__, "--child", "server", str(folder), str(num_rows)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self._biases = dict.fromkeys(map(str, list_eos(read_config(folder))), -100)

    def __enter__(self) -> Server:
        """The process ends with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def stop(self) -> float:
        """Stop it; what it took beside the graph, as a share of what the graph took."""
        self._process.terminate()
        told, _ = self._process.communicate()
        return float(told or "nan")

    def ask(self, request: Request) -> None:
        """A whole answer."""
        connection, response = self._post(request, stream=False)
        usage = json.loads(response.read())["usage"]
        assert usage["completion_tokens"] == request.num_tokens
        connection.close()

    def stream(self, request: Request, on_first: Any = lambda: None) -> float:
        """A stream; seconds to its first token."""
        start, first = time.perf_counter(), 0.0
        connection, response = self._post(request, stream=True)
        for line in response:
            if not first and b'"text":"' in line:
                first = time.perf_counter() - start
                on_first()
        connection.close()
        return first

    def processor_seconds(self) -> float:
        """What the server's threads have used so far; none of them ends while it serves."""
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9

    def peak_bytes(self) -> int:
        """Most memory that it had."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def _post(self, request: Request, *, stream: bool) -> Any:
        body = {
            "model": "model",
            "prompt": request.prompt,
            "max_tokens": request.num_tokens,
            "logit_bias": self._biases,
            "stream": stream,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return connection, response


def serve_folder(folder: Path, num_rows: int) -> None:
    """The process behind `Server`."""
    from appliance.serving.server import ModelFolder, ServerSettings, serve
    from appliance.serving.sockets import open_tcp_socket

    listening = open_tcp_socket("127.0.0.1", 0, has_token=False)
    model = ModelFolder(name="model", folder=folder, created=0, fingerprint="bench")
    settings = ServerSettings(num_rows=num_rows, threads=1)
    port, clock, started = listening.getsockname()[1], GraphClock(), 0.0

    def tell(_: object) -> None:
        nonlocal started
        started = time.process_time() - clock.seconds
        print(port, flush=True)

    serve([model], listening, settings, tell)
    if clock.seconds:
        print((time.process_time() - started - clock.seconds) / clock.seconds, flush=True)


def make_requests(
    folder: Path, count: int, num_read: int = 0, num_written: int = 0, *, seed: int = 0
) -> list[Request]:
    """Random prompts; of random lengths, unless these are given."""
    import numpy as np

    random = np.random.default_rng(seed)
    vocab_size = int(read_config(folder)["model"]["vocab_size"])
    return [
        Request(
            prompt=random.integers(
                10, vocab_size, num_read or random.integers(*PROMPT_TOKENS)
            ).tolist(),
            num_tokens=num_written or int(random.integers(*ANSWER_TOKENS)),
        )
        for _ in range(count)
    ]


def make_tables(figures: Row) -> str:
    """Three tables."""
    lines = [
        f"| one client, {SINGLE[0]} + {SINGLE[1]} tokens | processor s | s | over genai "
        "| beside the graph |",
        "|---|---|---|---|---|",
    ]
    bare = figures["single"]["genai"]["processor_seconds"]
    for name, row in figures["single"].items():
        spent = row["processor_seconds"]
        beside = f"{row['beside_graph']:.1%}" if "beside_graph" in row else "–"
        lines.append(
            f"| {name} | {spent:.3f} | {row['seconds']:.3f} | {spent / bare - 1:+.1%} | {beside} |"
        )
    clients = list(figures["load"]["ours"])
    heads = [f"{number} tokens/s (over static), first token s" for number in clients]
    lines += ["", f"| clients | {' | '.join(heads)} | peak MiB |", "|---" * (len(heads) + 2) + "|"]
    for name, rows in figures["load"].items():
        cells = []
        for number in clients:
            rate = rows[number]["tokens_per_processor_second"]
            static = figures["load"]["static"][number]["tokens_per_processor_second"]
            first = rows[number]["median_first_seconds"]
            cells.append(f"{rate:.0f} ({rate / static:.2f}), {first:.3f}")
        peak = max(row["peak_bytes"] for row in rows.values()) / 2**20
        lines.append(f"| {name} | {' | '.join(cells)} | {peak:.0f} |")
    lines += ["", "| newcomer | idle s | busy s | ratio |", "|---|---|---|---|"]
    for name, row in figures["newcomer"].items():
        idle, busy = row["idle_seconds"], row["busy_seconds"]
        lines.append(f"| {name} | {idle:.4f} | {busy:.4f} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def child(what: str, *arguments: str) -> None:
    """Measure one thing and print it as JSON."""
    go_offline()
    if what == "server":
        serve_folder(Path(arguments[0]), int(arguments[1]))
        return
    name, folder, *numbers = arguments
    measures: dict[str, Any] = {"single": single, "load": load, "newcomer": newcomer}
    print(json.dumps(measures[what](name, Path(folder), *map(int, numbers))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
