"""`appliance chat`: talk to a bundle."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.errors import UsageError
from appliance.values import Turn

if TYPE_CHECKING:
    from appliance.serving.answer import End
    from appliance.serving.citing import Citation
    from appliance.serving.engine import Engine

_HELP = "an empty line or /help: this · /new: forget the conversation · /exit or Ctrl-D: leave"


EXAMPLE = """
\b
Example:
  appliance chat runs/company_docs-c8a31b
  appliance chat runs/company_docs-c8a31b -m "How many days of leave do I have?"
  appliance chat runs/company_docs-c8a31b --beside runs/company_docs-97f0e2
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
@click.option("--base", "with_base", is_flag=True, help="Let the base model answer beside.")
@click.option(
    "--beside",
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Let another bundle answer beside.",
)
@click.option("--no-search", is_flag=True, help="Do not put passages before questions.")
@click.option("--json", "as_json", is_flag=True, help="With -m: print answer and figures as JSON.")
def chat(
    bundle: Path,
    question: str | None,
    max_tokens: int,
    with_base: bool,
    others: tuple[Path, ...],
    no_search: bool,
    as_json: bool,
) -> None:
    """Talk to BUNDLE, the folder of a bundle or of the run that made it.

    The bundle is verified first. Answers are the most likely ones, the same every time. A
    conversation is not read again with every question, only what is new in it.

    Where the bundle carries a search index, passages of the documents are put before each question
    and named below the answer.
    """
    from appliance.offline import go_offline

    if as_json and question is None:
        raise UsageError(
            "--json needs a question",
            why="a conversation is not one result",
            fix='appliance chat BUNDLE -m "..." --json',
        )
    go_offline()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a pipe may hold any bytes
    if question is not None:
        question = question.encode("utf-8", "replace").decode("utf-8")  # and so may an argument
    speakers = load_speakers(bundle, others, with_base=with_base)
    if no_search:
        for speaker in speakers:
            speaker.has_search = False
    try:
        if question is None:
            click.echo(f"{_introduce(speakers[0])} · {_HELP}", err=True)
            _converse(speakers, max_tokens)
        elif as_json:
            _answer_as_json(speakers, question, max_tokens)
        else:
            for speaker in speakers:
                speaker.turns.append(Turn(role="user", content=question))
                _answer(speaker, max_tokens, is_named=len(speakers) > 1)
    finally:
        for speaker in speakers:
            speaker.engine.close()


@dataclass(kw_only=True, slots=True)
class Speaker:
    """A model that takes part in a conversation.

    Attributes:
        name: told with its answers, when there are several.
        label: what it is.
        turns: the conversation as this model had it, without passages.
        has_search: whether passages of its documents are put before questions.
    """

    name: str
    label: str
    engine: Engine
    turns: list[Turn] = field(default_factory=list)
    has_search: bool = False


def load_speakers(bundle: Path, others: Sequence[Path], *, with_base: bool) -> list[Speaker]:
    """Verify and load what takes part: the bundle first.

    Raises:
        BundleError: a bundle is missing, damaged or does not load.
        UsageError: the base is wanted, and the bundle does not hold it.
    """
    from appliance.bundle.verify import find_bundle, verify_bundle
    from appliance.serving.engine import Engine

    speakers = []
    for path in (bundle, *others):
        folder = find_bundle(path).resolve()
        manifest = verify_bundle(folder)
        name = folder.parent.name if folder.name == "bundle" else folder.name
        label = f"{manifest.base} · {manifest.precision}"
        engine = Engine(folder)
        has_search = engine.shelf is not None
        speakers.append(Speaker(name=name, label=label, engine=engine, has_search=has_search))
    if with_base:
        folder = find_bundle(bundle) / "base"
        if not folder.is_dir():
            raise UsageError(
                f"the base model cannot answer beside {bundle}",
                why="the bundle holds the tuned model alone",
                fix="compare answers to held-out questions in evaluate/answers.jsonl of the run, "
                "or name another bundle with --beside",
            )
        speakers.append(Speaker(name="base", label="the base model", engine=Engine(folder)))
    for number, speaker in enumerate(speakers):
        if speaker.name in [other.name for other in speakers[:number]]:
            speaker.name += f" ({number + 1})"
    return speakers


def _converse(speakers: list[Speaker], max_tokens: int) -> None:
    """Read questions until the person leaves; Ctrl-C stops an answer, not the conversation."""
    while True:
        question = _read_question()
        if question is None or question == "/exit":
            return
        if question in ("", "/help"):
            click.echo(_HELP, err=True)
        elif question == "/new":
            for speaker in speakers:
                speaker.turns.clear()
        else:
            for speaker in speakers:
                _go_on(speaker, question, max_tokens, is_named=len(speakers) > 1)


def _go_on(speaker: Speaker, question: str, max_tokens: int, *, is_named: bool) -> None:
    """One question and its answer."""
    speaker.turns.append(Turn(role="user", content=question))
    try:
        answer = _answer(speaker, max_tokens, is_named=is_named, is_stoppable=True)
    except UsageError as exc:  # too long: the conversation goes on without this question
        speaker.turns.pop()
        click.echo(f"{exc}\n       (/new forgets the conversation)", err=True)
    else:
        speaker.turns.append(Turn(role="assistant", content=answer))


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
    speaker: Speaker, max_tokens: int, *, is_named: bool, is_stoppable: bool = False
) -> str:
    """Print an answer as it comes, and return what was printed."""
    pieces: list[str] = []
    end: End | None = None
    turns, citations = _read_on(speaker, max_tokens)
    stream = speaker.engine.stream_reply(turns, max_tokens)
    if is_named:
        click.echo(f"{speaker.name}: ", nl=False)
    try:
        while True:
            pieces.append(next(stream))
            click.echo(pieces[-1], nl=False)
            sys.stdout.flush()
    except StopIteration as done:
        end = done.value
    except KeyboardInterrupt:
        stream.close()
        if not is_stoppable:
            raise
    click.echo()
    for citation in citations:
        click.secho(f"[{citation.number}] {citation.place}", dim=True)
    if end is not None and sys.stderr.isatty():
        click.secho(_describe(end), err=True, dim=True)
    return "".join(pieces)


def _introduce(speaker: Speaker) -> str:
    return f"{speaker.label} · searches its documents" if speaker.has_search else speaker.label


def _read_on(speaker: Speaker, max_tokens: int) -> tuple[list[Turn], tuple[Citation, ...]]:
    """The conversation as the model reads it, and the passages in it."""
    if not speaker.has_search:
        return speaker.turns, ()
    from appliance.serving.citing import put_passages

    return put_passages(speaker.engine, speaker.turns, max_tokens)


def _answer_as_json(speakers: list[Speaker], question: str, max_tokens: int) -> None:
    """One JSON object; what others say stands under their names."""
    from appliance.cli.output import print_json

    bodies = {}
    for speaker in speakers:
        speaker.turns.append(Turn(role="user", content=question))
        turns, citations = _read_on(speaker, max_tokens)
        body = _collect(speaker.engine.stream_reply(turns, max_tokens))
        cited = {"citations": [asdict(each) for each in citations]} if speaker.has_search else {}
        bodies[speaker.name] = body | cited
    body = bodies.pop(speakers[0].name)
    print_json(body | {"beside": bodies} if bodies else body)


def _collect(stream: Any) -> dict[str, Any]:
    pieces: list[str] = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as done:
            end: End = done.value
            break
    return {
        "answer": "".join(pieces),
        "stop": end.reason,
        "seconds": round(end.seconds, 3),
        "tokens": end.num_tokens,
        "tokens_per_second": round(count_speed(end), 1),
    }


def count_speed(end: End) -> float:
    """Tokens per second from the first one on; 0 when there is only one."""
    if end.first_seconds is None or end.num_tokens < 2:
        return 0.0
    return (end.num_tokens - 1) / max(end.seconds - end.first_seconds, 1e-9)


def _describe(end: End) -> str:
    parts = [f"{end.num_tokens} tokens", f"first after {(end.first_seconds or 0) * 1000:.0f} ms"]
    if count_speed(end):
        parts.append(f"{count_speed(end):.0f} tokens/s")
    if end.num_cached:
        parts.append(f"{end.num_prompt - end.num_cached} of {end.num_prompt} tokens read")
    notes = {"length": "cut at --max-tokens", "context": "the context is full", "loop": "a loop"}
    return " · ".join([*parts, *([notes[end.reason]] if end.reason in notes else [])])
