"""The generated reference says what the code says, and notices when it does not."""

import ast
import subprocess
import sys

import pytest

from scripts.messages import write_text
from tests.conftest import ROOT


def run_reference(*arguments, options=()):
    return subprocess.run(
        [sys.executable, *options, str(ROOT / "scripts" / "reference"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_reference_is_what_the_code_says():
    done = run_reference("--check")

    assert done.returncode == 0, done.stderr


def test_check_names_the_page_that_drifted(tmp_path):
    run_reference("--folder", tmp_path)
    page = tmp_path / "recipe.md"
    page.write_text(page.read_text().replace("tune.rank", "tune.runk"))

    done = run_reference("--check", "--folder", tmp_path)

    assert done.returncode == 1
    assert str(page) in done.stderr
    assert "errors.md" not in done.stderr


def test_check_names_every_page_when_there_is_none(tmp_path):
    done = run_reference("--check", "--folder", tmp_path)

    assert done.returncode == 1
    for name in ("command-line.md", "recipe.md", "errors.md", "messages.md", "stages.md"):
        assert name in done.stderr
    assert not list(tmp_path.iterdir()), "a check writes nothing"


def test_reference_is_written_without_torch(tmp_path):
    done = run_reference("--folder", tmp_path, options=("-X", "importtime"))

    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0, done.stderr
    assert not imported & {"torch", "transformers", "numpy"}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("'it is gone'", "it is gone"),
        ("f'{path} is gone'", "… is gone"),
        ("f'{a}{b} of {c:,} bytes'", "… of … bytes"),
        ("'no room' if full else 'no right'", "no room or: no right"),
        ("str(exc)", "…"),
        ("'tried ' + ', '.join(paths)", "tried …"),
    ],
)
def test_message_is_written_as_a_person_sees_it(code, text):
    assert write_text(ast.parse(code, mode="eval").body) == text
