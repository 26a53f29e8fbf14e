"""Tokens: what is kept of them, how they end, and the verbs that make and revoke them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

from appliance.errors import ServiceError, UsageError
from appliance.web.audit import AuditLog
from appliance.web.sessions import SESSION_SECONDS, Sessions
from appliance.web.tokens import create_token, find_token, has_scope, list_tokens, revoke_token
from tests.conftest import ROOT

NOW = 1_000_000.0


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "appliance", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )


def test_token_is_found_until_it_ends(tmp_path):
    token, secret = create_token(tmp_path, "anna", "run", 100.0, NOW)

    assert find_token(tmp_path, secret, NOW + 99) == token
    assert find_token(tmp_path, secret, NOW + 100) is None


def test_token_itself_is_kept_nowhere(tmp_path):
    _, secret = create_token(tmp_path, "anna", "run", 100.0, NOW)

    file = tmp_path / "tokens.json"
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_token_has_256_random_bits(tmp_path):
    secrets = [create_token(tmp_path, f"t{n}", "read", 9.0, NOW)[1] for n in range(3)]

    assert len({secret.split("_", 2)[2] for secret in secrets}) == 3
    assert all(len(secret.split("_", 2)[2]) == 43 for secret in secrets)  # 32 bytes, base64


@pytest.mark.parametrize("name", ["", " anna", "a" * 65, "a\nb", "<b>", "../x"])
def test_token_is_refused_under_a_name_that_is_none(tmp_path, name):
    with pytest.raises(UsageError):
        create_token(tmp_path, name, "read", 100.0, NOW)


def test_name_of_a_token_can_be_used_again_when_it_has_ended(tmp_path):
    create_token(tmp_path, "anna", "read", 100.0, NOW)
    with pytest.raises(UsageError):
        create_token(tmp_path, "anna", "read", 100.0, NOW + 50)

    create_token(tmp_path, "anna", "read", 100.0, NOW + 100)

    assert len(list_tokens(tmp_path)) == 1


def test_token_is_revoked_by_name_or_id(tmp_path):
    first, _ = create_token(tmp_path, "anna", "read", 100.0, NOW)
    create_token(tmp_path, "bert", "read", 100.0, NOW)

    revoke_token(tmp_path, first.id)
    revoke_token(tmp_path, "bert")

    assert list_tokens(tmp_path) == ()
    with pytest.raises(UsageError):
        revoke_token(tmp_path, "bert")


def test_tokens_are_refused_when_their_file_is_damaged(tmp_path):
    (tmp_path / "tokens.json").write_text('{"tokens": [{}]}')

    with pytest.raises(ServiceError):
        find_token(tmp_path, "x", NOW)


@pytest.mark.parametrize(
    ("held", "needed", "is_enough"),
    [
        ("read", "read", True),
        ("read", "run", False),
        ("admin", "run", True),
        ("run", "admin", False),
    ],
)
def test_scope_includes_those_below(held, needed, is_enough):
    assert has_scope(held, needed) is is_enough


def test_session_ends_by_time_and_by_wish():
    sessions = Sessions()
    cookie, other = (sessions.begin("", "read", NOW + SESSION_SECONDS) for _ in range(2))
    sessions.end(other)

    assert sessions.find(cookie, NOW) is not None
    assert sessions.find(other, NOW) is None
    assert sessions.find(cookie, NOW + SESSION_SECONDS) is None


def test_verbs_make_list_and_revoke_a_token_and_log_it(tmp_path):
    made = json.loads(
        run(
            "tokens", "create", "--name", "anna", "--scope", "run", "--state", tmp_path, "--json"
        ).stdout
    )
    listed = run("tokens", "list", "--state", tmp_path).stdout
    revoked = run("tokens", "revoke", "anna", "--state", tmp_path)
    checked = run("audit", "verify", "--state", tmp_path)

    assert made["scope"] == "run"
    assert "anna" in listed
    assert made["token"] not in listed
    assert revoked.returncode == 0
    assert "whole: 2 lines" in checked.stdout


def test_verb_tells_that_the_log_was_changed(tmp_path):
    AuditLog(tmp_path).note("terminal", "create a token for read")
    log = tmp_path / "audit.jsonl"
    log.write_text(log.read_text().replace("read", "admin"))

    done = run("audit", "verify", "--state", tmp_path)

    assert done.returncode == ServiceError.exit_code
    assert "error: the audit log was changed" in done.stderr
    assert "line 1" in done.stderr
