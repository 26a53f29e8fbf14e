"""The audit log finds every change; oracle: lines 1 to n as written, and nothing else, verify."""

from __future__ import annotations

import json

import pytest

from appliance.errors import ServiceError
from appliance.web.audit import HEAD, LOG, AuditLog, Head


@pytest.fixture
def log(tmp_path):
    """Five acts, a second apart."""
    moments = iter(range(1000, 2000))
    log = AuditLog(tmp_path, clock=lambda: next(moments))
    for number in range(5):
        log.note("39f5b641", "cancel", str(number))
    return log


def change(log, edit):
    path = log.folder / LOG
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(edit(lines)))


def test_audit_log_is_whole_as_it_was_written(log):
    assert log.verify() == 5
    assert [entry.n for entry in log.read(limit=3)] == [5, 4, 3]
    assert [entry.n for entry in log.read(limit=3, before=3)] == [2, 1]


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (lambda lines: [lines[0].replace(b"cancel", b"resume"), *lines[1:]], "line 1"),
        (lambda lines: lines[:2] + lines[3:], "line 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1"),
        (lambda lines: lines[:-1], "line 5"),
        (lambda lines: [], "line 5"),
        (lambda lines: [*lines, lines[-1]], "line 6"),
        (lambda lines: [b"{}\n", *lines[1:]], "line 1"),
    ],
    ids=["edited", "taken out", "moved", "cut off", "emptied", "doubled", "replaced"],
)
def test_audit_log_tells_where_it_was_changed(log, edit, place):
    change(log, edit)

    with pytest.raises(ServiceError, match="the audit log was changed") as caught:
        log.verify()

    assert place in caught.value.why


@pytest.mark.parametrize("line", [0, 2, 4])
def test_audit_log_tells_a_change_after_it_was_found_whole(log, line):
    log.verify()
    change(
        log, lambda lines: [*lines[:line], lines[line].replace(b"cancel", b"x"), *lines[line + 1 :]]
    )

    with pytest.raises(ServiceError) as caught:
        log.verify()

    assert f"line {line + 1}" in caught.value.why


def test_audit_log_is_read_again_only_where_it_grew(log, monkeypatch):
    from appliance.web import audit

    log.verify()
    log.note("39f5b641", "cancel", "6")
    parsed, parse = [], audit._parse
    monkeypatch.setattr(audit, "_parse", lambda *given: parsed.append(given) or parse(*given))

    assert log.verify() == 6
    assert [entry.n for entry in log.read(limit=2, before=4)] == [3, 2]
    assert [number for _, number in parsed] == [6, 2, 3]


def test_audit_log_tells_that_a_line_was_forged_with_a_right_hash(log):
    from appliance.web.audit import Entry, _seal

    def forge(lines):
        last = Entry.model_validate_json(lines[-1])
        forged = _seal(last.model_copy(update={"what": "nothing"}))
        return [*lines[:-1], forged.model_dump_json().encode() + b"\n"]

    change(log, forge)

    with pytest.raises(ServiceError) as caught:
        log.verify()
    assert "signed for" in caught.value.why


def test_audit_log_that_was_begun_anew_misses_a_kept_head(log, tmp_path):
    kept = log.read_head()
    assert kept is not None
    (log.folder / LOG).unlink()
    (log.folder / HEAD).unlink()
    log.note("39f5b641", "cancel", "0")

    assert log.verify() == 1
    with pytest.raises(ServiceError):
        log.verify(kept)


def test_audit_log_refuses_a_head_that_another_key_signed(log, tmp_path):
    other = AuditLog(tmp_path / "other")
    other.note("", "log in")

    with pytest.raises(ServiceError, match="changed") as caught:
        log.verify(other.read_head())

    assert "signature" in caught.value.why


def test_audit_log_goes_on_after_a_line_that_a_crash_left_torn(log):
    with (log.folder / LOG).open("ab") as file:
        file.write(b'{"n": 6, "at"')

    log.note("39f5b641", "resume")

    assert log.verify() == 6


def test_line_that_a_crash_left_torn_is_no_change(log):
    whole = log.verify()
    with (log.folder / "audit.jsonl").open("ab") as file:
        file.write(b'{"n": 99, "at": 1.0, "wh')

    assert log.verify() == whole
    assert len(log.read(limit=99)) == whole


def test_audit_log_is_closed_to_others(log):
    assert (log.folder / LOG).stat().st_mode & 0o077 == 0
    assert (log.folder / "keys" / "signing.pem").stat().st_mode & 0o077 == 0


def test_head_is_json_that_can_be_kept(log):
    head = log.read_head()

    assert Head.model_validate(json.loads(head.model_dump_json())) == head
    assert log.verify(head) == 5
