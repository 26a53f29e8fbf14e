"""Commands that messages, pages and recipes name are commands that exist, with such options."""

import importlib
import re

import click
import pytest

from appliance.cli.main import VERBS, cli
from appliance.recipe import list_recipes
from scripts.messages import list_messages
from tests.conftest import ROOT

PAGES = [
    path
    for path in (
        *(ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")),
        *(ROOT / "appliance").rglob("*.html"),
        *(ROOT / "appliance").rglob("*.j2"),
    )
    if "decisions" not in path.parts
]
"""Decisions tell what was, too."""

COMMAND = re.compile(r"(?<![/\w.-])appliance ((?:--?[a-z-]+ )*[a-z]+(?:[^\S\n][^`\n|'\"<;,)]*)?)")


def find_command(words: list[str]) -> click.Command:
    """The verb, or the verb below a verb, that the words name."""
    command: click.Command = getattr(importlib.import_module(f"appliance.cli.{words[0]}"), words[0])
    if isinstance(command, click.Group) and len(words) > 1 and re.fullmatch("[a-z]+", words[1]):
        below = command.commands.get(words[1])
        assert below is not None, f"appliance {words[0]} has no {words[1]}"
        return below
    return command


def check(text: str) -> None:
    """A command with its options; what comes after a word of prose is not looked at."""
    words = [word.rstrip(".,:;)") for word in text.split()]
    command = find_command(words)
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {
        "--help",
        "-h",
    }
    for word in words:
        option = word.partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", option):
            assert option in known, f"{option} of: appliance {text}"


def list_commands(text: str) -> list[str]:
    """Commands in a text whose first word is a verb; `appliance` also is a plain word."""
    return [found for found in COMMAND.findall(text) if found.split()[0] in VERBS]


def test_commands_are_found_in_prose_and_code():
    text = (
        "see `appliance bases list`, or: appliance tune ./docs --set a.b=1\nan appliance that tunes"
    )

    assert list_commands(text) == ["bases list", "tune ./docs --set a.b=1"]


@pytest.mark.parametrize("text", ["bases nowhere", "tune ./docs --nowhere", "jobs list --nowhere"])
def test_command_that_does_not_exist_is_found(text):
    with pytest.raises(AssertionError):
        check(text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_a_page_exist(path):
    for text in list_commands(path.read_text(encoding="utf-8")):
        check(text)


def test_commands_of_messages_exist():
    messages = list_messages(ROOT / "appliance")
    found = [text for message in messages for text in list_commands(message.fix)]

    assert len(found) > 30
    for text in found:
        check(text)


def test_commands_of_recipes_exist():
    for recipe in list_recipes():
        check(recipe.command.removeprefix("appliance "))


def test_help_of_every_verb_shows_an_example_that_runs():
    for name in VERBS:
        command = find_command([name])
        examples = list_commands(command.epilog or "")
        assert examples, f"{name} shows no example"
        for text in examples:
            check(text)
    assert list_commands(cli.epilog or "")
