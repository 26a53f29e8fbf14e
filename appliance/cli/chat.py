"""`appliance chat`: talk to a bundle."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.errors import UsageError
from appliance.values import Turn

if TYPE_CHECKING:
    from appliance.serving.engine import Engine

_HELP = "an empty line or /help: this · /new: forget the conversation · /exit or Ctrl-D: leave"


EXAMPLE = """
\b
Example:
  appliance chat runs/company_docs-c8a31b
  appliance chat runs/company_docs-c8a31b -m "How many days of leave do I have?"
"""


@click.command(epilog=EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-m", "--message", "question", help="Ask one question, print the answer and leave.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Tokens of an answer at most.",
)
@click.option("--json", "as_json", is_flag=True, help="With -m: print answer and figures as JSON.")
def chat(bundle: Path, question: str | None, max_tokens: int, as_json: bool) -> None:
    """Talk to BUNDLE, the folder of a bundle or of the run that made it.

    The bundle is verified first. Answers are the most likely ones, the same every time.
    """
    from appliance.bundle.verify import find_bundle, verify_bundle
    from appliance.offline import go_offline

    if as_json and question is None:
        raise UsageError(
            "--json needs a question",
            why="a conversation is not one result",
            fix='appliance chat BUNDLE -m "..." --json',
        )
    go_offline()
    folder = find_bundle(bundle)
    manifest = verify_bundle(folder)
    from appliance.serving.engine import Engine

    engine = Engine(folder)
    if question is None:
        click.echo(f"{manifest.base} · {manifest.precision} · {_HELP}", err=True)
        _converse(engine, max_tokens)
    elif as_json:
        _answer_as_json(engine, question, max_tokens)
    else:
        _answer(engine, [Turn(role="user", content=question)], max_tokens)


def _converse(engine: Engine, max_tokens: int) -> None:
    """Read questions until the person leaves; Ctrl-C stops an answer, not the conversation."""
    turns: list[Turn] = []
    while True:
        question = _read_question()
        if question is None or question == "/exit":
            return
        if question in ("", "/help"):
            click.echo(_HELP, err=True)
        elif question == "/new":
            turns = []
        else:
            turns.append(Turn(role="user", content=question))
            try:
                answer = _answer(engine, turns, max_tokens, is_stoppable=True)
            except UsageError as exc:  # too long: the conversation goes on without this question
                turns.pop()
                click.echo(f"{exc}\n       (/new forgets the conversation)", err=True)
            else:
                turns.append(Turn(role="assistant", content=answer))


def _read_question() -> str | None:
    """The next line, or None at the end of the input."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        line = ""
    return line.strip() if line else None


def _answer(
    engine: Engine, turns: list[Turn], max_tokens: int, *, is_stoppable: bool = False
) -> str:
    """Print an answer as it comes, and return what was printed."""
    pieces: list[str] = []
    try:
        for piece in engine.stream_reply(turns, max_tokens):
            pieces.append(piece)
            click.echo(piece, nl=False)
            sys.stdout.flush()
    except KeyboardInterrupt:
        if not is_stoppable:
            raise
    click.echo()
    return "".join(pieces)


def _answer_as_json(engine: Engine, question: str, max_tokens: int) -> None:
    import json

    started = time.perf_counter()
    stream = engine.stream_reply([Turn(role="user", content=question)], max_tokens)
    pieces: list[str] = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            stop = end.value
            break
    body = {
        "answer": "".join(pieces),
        "stop": stop,
        "seconds": round(time.perf_counter() - started, 3),
    }
    click.echo(json.dumps(body, ensure_ascii=False))
