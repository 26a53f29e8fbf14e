"""The way from a file that must go to a model without it: the command, written out."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from appliance.documents.provenance import FileUse, find_same_text
from appliance.files import hash_file
from appliance.jobs import REQUEST, JobRequest
from appliance.recipe import Recipe

if TYPE_CHECKING:
    from appliance.values import FileVerdict


_WORD = re.compile(r"(?!(?:true|false|null)$)[A-Za-z][\w-]*", re.I)
"""What means itself in YAML; anything else is written as JSON, which is YAML too."""


def write_retunes(uses: list[FileUse]) -> dict[str, str]:
    """By run: the command that makes its model anew without a file and all that say the same.

    Runs that used nothing of it, and runs that do not know what they were asked, are left out.
    Files that have only the name in common count where no run knows the very bytes.
    """
    chosen = [use for use in uses if use.is_same] or uses
    names: dict[str, list[str]] = {}
    for use in chosen:
        if use.verdict != "skipped":
            names.setdefault(use.run, []).append(use.path)
    commands = {}
    for run, found in names.items():
        left_out = [each for name in found for each in find_same_text(Path(run), name)]
        commands[run] = _write_retune(Path(run).absolute(), left_out)
    return {run: command for run, command in commands.items() if command}


def list_settings(recipe: Recipe) -> Iterator[str]:
    """A recipe as what `--set` takes: only what is not the default."""
    for section, default in Recipe():
        for key, value in getattr(recipe, section):
            if value != getattr(default, key):
                is_word = isinstance(value, str) and _WORD.fullmatch(value)
                plain = value if is_word else json.dumps(value, ensure_ascii=False)
                yield f"{section}.{key}={plain}"


def _write_retune(run: Path, left_out: list[FileVerdict]) -> str:
    """The command that does a run again without some of its files; "" if it cannot be told.

    Args:
        run: a run that used them.
        left_out: verdicts of the run on the files, and on others that say the same.
    """
    try:
        request = JobRequest.model_validate_json((run / REQUEST).read_bytes())
    except (OSError, ValidationError):  # of an earlier version
        return ""
    words = ["appliance", request.kind, request.documents]
    if request.base:
        words += ["--base", request.base]
    for setting in list_settings(request.recipe):
        words += ["--set", setting]
    if run.parent.name != "runs" or run.parent.parent != Path.cwd():
        words += ["--runs", str(run.parent)]
    for name in dict.fromkeys(_name(Path(request.documents), each) for each in left_out):
        words += ["--without", name]
    return shlex.join(words)


def _name(documents: Path, verdict: FileVerdict) -> str:
    """A file by its path while these bytes lie there, else by its hash."""
    path = documents / verdict.path
    try:
        is_there = path.is_file() and hash_file(path) == verdict.sha256
    except OSError:
        is_there = False
    return str(path) if is_there else verdict.sha256
