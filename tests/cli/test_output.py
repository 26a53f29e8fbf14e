"""Rendering. Oracle: the lines as a person should see them."""

import json
import sys

from appliance.cli import output
from appliance.values import Finding


def test_row_is_aligned_and_further_lines_stand_under_the_text(capsys):
    output.print_row("Plan", "embedded · qlora", "why: it fits")
    assert capsys.readouterr().out == "Plan       embedded · qlora\n           why: it fits\n"


def test_long_row_is_one_line_in_a_pipe_and_wrapped_on_a_terminal(capsys, monkeypatch):
    text = "word " * 40
    output.print_row("Plan", text.strip())
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    output.print_row("Plan", text.strip())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(line.startswith(" " * 11) for line in lines[1:])


def test_table_has_columns_under_the_text(capsys):
    output.print_table(("base", "needs"), [("embedded", "821 MiB"), ("x", "1 GiB")])
    assert capsys.readouterr().out == (
        "           base      needs\n           embedded  821 MiB\n           x         1 GiB\n"
    )


def test_json_is_the_only_thing_on_stdout(capsys):
    output.print_json(Finding(what="größe", fix="mend"))
    output.print_json({"a": 1})
    first, second = capsys.readouterr().out.replace("}\n{", "}\0{").split("\0")
    assert json.loads(first) == {"what": "größe", "fix": "mend", "level": "warning"}
    assert json.loads(second) == {"a": 1}


def test_row_goes_to_stderr_when_stdout_holds_data(capsys):
    output.print_row("Plan", "embedded", to_stderr=True)
    assert capsys.readouterr() == ("", "Plan       embedded\n")
