"""What the threat model names, one test a row: who gets in, and what nobody gets to see.

Oracle: the table of docs/security.md, and the statuses of RFC 9110.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from appliance.web.guard import MAX_REQUESTS, Rates
from appliance.web.refusals import Refusal
from appliance.web.requests import MAX_BODY_BYTES
from appliance.web.routes import ROUTES
from appliance.web.tokens import list_tokens, revoke_token
from tests.web.conftest import (
    BASE,
    FILE_CANARY,
    NAME_CANARY,
    NUM_CANARIES,
    TEXT_CANARY,
    log_in,
    make_token,
    read_events,
)

ABSENT_PLAN = "0" * 32


def fill(path, job):
    return path.replace("{id}", str(job)).replace("{plan}", ABSENT_PLAN)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8766", "", "a b", "[::1"])
def test_request_is_refused_when_it_names_another_host(visit, host):
    answer = visit("admin").get("/api/jobs", headers={"host": host})

    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8766", "[::1]:8766", "box.office:8766"])
def test_request_is_answered_when_it_names_this_machine(visit, host):
    assert visit().get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "https://localhost:8766"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_post_of_another_site_is_refused(visit, desk, office, headers):
    client = visit()
    secret = log_in(client, desk, "admin")

    answer = client.post(f"/jobs/{office.job}/retry", data={"form_secret": secret}, headers=headers)

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("fields", [{}, {"form_secret": ""}, {"form_secret": "x" * 43}])
def test_form_is_refused_without_the_secret_of_its_session(visit, desk, office, fields):
    client = visit()
    log_in(client, desk, "admin")

    answer = client.post(f"/jobs/{office.job}/retry", data=fields, headers={"origin": BASE})

    assert answer.status_code == 403


def test_form_is_refused_when_the_browser_does_not_say_where_it_comes_from(visit, desk, office):
    client = visit()
    secret = log_in(client, desk, "admin")

    answer = client.post(f"/jobs/{office.job}/retry", data={"form_secret": secret})

    assert answer.status_code == 403


def test_cookie_is_closed_to_scripts_and_other_sites(visit, desk):
    answer = visit().post(
        "/login", data={"token": make_token(desk, "read")}, headers={"origin": BASE}
    )

    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_every_page_forbids_scripts_of_others_and_frames(visit):
    headers = visit("admin").get("/jobs", headers={"accept": "text/html"}).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/..%2f..%2fetc%2fpasswd",
        "/api/jobs/..%2F1",
        "/api/jobs/1%00",
        "/api/jobs/-1",
        "/api/jobs/99999999999999999999999999",
        "/api/jobs/1e3",
        "/api/plans/..%2f..%2fstate",
        "/api/plans/" + "0" * 31 + "g",
        "/static/..%2f..%2ftokens.py",
        "/static/%2e%2e/app.py",
    ],
)
def test_ids_in_a_path_name_nothing_else(visit, path):
    answer = visit("admin").get(path)

    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "import" not in answer.text


@pytest.mark.parametrize("folder", ["../../etc", "/etc", "0" * 32, "0" * 33, "\n" + "0" * 31])
def test_plan_is_refused_for_a_folder_that_was_not_offered(visit, folder):
    answer = visit("admin").post("/api/plans", json={"folder": folder})

    assert answer.status_code == 400


@pytest.mark.parametrize("base", ["/etc", "../../weights", "--set=x", "https://evil.example/m"])
def test_plan_is_refused_for_a_base_that_is_not_here(visit, office, base):
    client = visit("admin")
    folder = client.get("/api/start").json()["folders"][0]["id"]

    answer = client.post("/api/plans", json={"folder": folder, "base": base})

    assert answer.status_code == 400


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_strangers_get_nothing(visit, office, route):
    path = f"/api{fill(route.path, office.job)}"

    answer = visit().request(route.method, path)

    assert answer.status_code == 401


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_scope_must_be_large_enough(visit, office, route):
    smaller = {"run": "read", "admin": "run"}.get(route.scope)
    if smaller is None:
        return
    path = f"/api{fill(route.path, office.job)}"

    answer = visit(smaller).request(route.method, path, **({"json": {}} if route.then else {}))

    assert answer.status_code == 403


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_token_for_a_job_opens_it_alone(visit, desk, office, route):
    other = make_token(desk, "run", jobs=(office.job + 1,))
    client = visit(authorization=f"Bearer {other}")
    path = f"/api{fill(route.path, office.job)}"

    answer = client.request(route.method, path, **({"json": {}} if route.then else {}))

    assert answer.status_code == 403


def test_token_for_a_job_opens_its_pages_and_begins_there(visit, desk, office):
    client = visit()
    log_in(client, desk, "run", jobs=(office.job,))
    home = client.get("/").headers["location"]
    page = client.get(home)

    assert home == f"/jobs/{office.job}"
    assert (page.status_code, "/models" in page.text) == (200, False)
    for path in (f"/jobs/{office.job}/documents", f"/api/jobs/{office.job}/bundle"):
        assert client.get(path).status_code == 200
    for path in ("/metrics", "/api/openapi.json", "/jobs"):
        assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", ["/jobs/{id}/bundle", "/api/jobs/{id}/bundle"])
def test_bundle_needs_the_scope_run(visit, office, path):
    assert visit("read").get(fill(path, office.job)).status_code == 403


def test_token_is_refused_when_it_has_expired_or_was_revoked(visit, desk):
    now = time.time()
    expired = make_token(desk, "admin", seconds=10, now=now - 11)
    revoked = make_token(desk, "admin")
    client = visit()
    works = client.get("/api/jobs", headers={"authorization": f"Bearer {revoked}"}).status_code
    revoke_token(desk.folder, list_tokens(desk.folder)[-1].id)

    statuses = [
        client.get("/api/jobs", headers={"authorization": f"Bearer {token}"}).status_code
        for token in (expired, revoked, revoked[:-1], "", "x" * 4000)
    ]

    assert works == 200
    assert statuses == [401] * 5


def test_session_ends_with_its_token(visit, desk):
    client = visit()
    log_in(client, desk, "read")
    before = client.get("/api/jobs").status_code

    revoke_token(desk.folder, list_tokens(desk.folder)[-1].id)

    assert (before, client.get("/api/jobs").status_code) == (200, 401)


def test_link_of_the_terminal_lets_in_once(visit, desk):
    link = desk.sessions.make_link(time.time())

    first, second = (visit().get(f"/login?link={link}").status_code for _ in range(2))

    assert (first, second) == (303, 401)


def test_link_of_the_terminal_ends(desk):
    link = desk.sessions.make_link(now=1000.0)

    assert desk.sessions.follow_link(link, now=1000.0 + 901.0) is None


def test_guessing_tokens_is_slowed_down(visit):
    client = visit()

    statuses = [
        client.get("/api/jobs", headers={"authorization": f"Bearer {n}"}).status_code
        for n in range(12)
    ]

    assert statuses == [401] * 10 + [429] * 2


def test_login_by_guessing_is_slowed_down(visit):
    client = visit()

    answers = [
        client.post("/login", data={"token": str(n)}, headers={"origin": BASE}) for n in range(11)
    ]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_asking_too_often_is_refused_and_comes_back():
    moment = [0.0]
    rates = Rates(per_second=2.0, burst=3.0, clock=lambda: moment[0])
    for _ in range(3):
        rates.take("anna")
    with pytest.raises(Refusal):
        rates.take("anna")
    rates.take("bert")

    moment[0] = 1.0

    rates.take("anna")


def test_body_is_refused_when_it_is_too_large(visit):
    answer = visit("admin").post(
        "/api/plans",
        content=b'{"folder": "' + b"0" * MAX_BODY_BYTES + b'"}',
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/json", b"[" * 60_000, 400),
        ("application/json", b"\xff", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"unknown": 1}', 400),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 200), 400),
        ("application/x-www-form-urlencoded", b"\xff=1", 400),
    ],
)
def test_body_is_refused_when_it_is_no_order(visit, kind, body, status):
    answer = visit("admin").post("/api/plans", content=body, headers={"content-type": kind})

    assert answer.status_code == status


def test_too_many_requests_at_once_are_refused(desk):
    import asyncio

    from appliance.web.guard import Door, Guard

    async def run():
        asked, go_on = [], asyncio.Event()

        async def wait(scope, receive, send):
            asked.append(scope)
            await go_on.wait()

        guard = Guard(wait, Door(), desk.metrics)
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
        sent = []

        async def send(message):
            sent.append(message)

        waiting = [asyncio.create_task(guard(dict(scope), None, send)) for _ in range(MAX_REQUESTS)]
        while len(asked) < MAX_REQUESTS:
            await asyncio.sleep(0)
        await guard(dict(scope), None, send)
        go_on.set()
        await asyncio.gather(*waiting)
        return sent[0]["status"]

    assert asyncio.run(run()) == 503


def list_pages(job):
    """Every path that a reader can ask for."""
    paths = [fill(route.path, job) for route in ROUTES if route.method == "GET"]
    return [
        *(prefix + path for path in paths for prefix in ("", "/api")),
        f"/compare?left={job}&right={job}",
        f"/api/jobs/{job}/events",
        "/api/openapi.json",
        "/metrics",
        "/login",
        "/health",
    ]


@pytest.mark.parametrize("scope", [None, "read"])
def test_names_and_text_of_documents_are_on_no_page_of_who_may_not_see_them(visit, office, scope):
    client = visit(scope)

    told = {
        path: client.get(path, headers={"accept": "text/html"}) for path in list_pages(office.job)
    }

    assert len(told) > 25
    for path, answer in told.items():
        assert NAME_CANARY not in answer.text, path
        assert TEXT_CANARY not in answer.text, path
        assert str(office.roots) not in answer.text, path


def test_text_of_documents_is_on_no_page_at_all(visit, office):
    client = visit("admin")

    for path in list_pages(office.job):
        assert TEXT_CANARY not in client.get(path, headers={"accept": "text/html"}).text, path


def test_names_and_text_of_documents_are_in_no_log_and_no_figure(visit, desk, office, capfd):
    client = visit("admin")
    for path in list_pages(office.job):
        client.get(path)

    figures = client.get("/metrics").text
    logged = office.daemon.log.read_text() + (desk.folder / "audit.jsonl").read_text()
    said = "".join(capfd.readouterr())

    for canary in (NAME_CANARY, TEXT_CANARY):
        assert canary not in figures
        assert canary not in logged
        assert canary not in said


def list_told(office, desk):
    """Everything that is kept for others than the owner of the documents, or shown to them."""
    run = Path(office.daemon.show(office.job)["run"])
    bundle = [path for path in (run / "bundle").rglob("*") if path.is_file()]
    state = office.daemon.state
    kept = [*state.glob("queue.sqlite3*"), *state.glob("fault*"), run / "events.jsonl"]
    return [*bundle, *kept, office.daemon.log, desk.folder / "audit.jsonl"]


def test_text_and_names_of_two_hundred_documents_are_nowhere_outside_the_run(visit, desk, office):
    client = visit("admin")
    for path in list_pages(office.job):
        client.get(path)
    used = client.get(f"/api/jobs/{office.job}").json()["files"]["num_used"]
    figures = client.get("/metrics").content

    found = {
        path.name: canary
        for path in list_told(office, desk)
        for canary in (TEXT_CANARY, FILE_CANARY)
        if canary.encode() in path.read_bytes()
    }

    assert used >= NUM_CANARIES  # they were read, and trained on
    assert found == {}
    assert TEXT_CANARY.encode() not in figures
    assert FILE_CANARY.encode() not in figures


def test_failed_job_does_not_tell_a_reader_why(visit, office, tmp_path):
    folder = tmp_path / f"{NAME_CANARY} gone"
    folder.mkdir()
    (folder / "one.txt").write_text("text")
    job = office.daemon.submit(folder)["id"]
    told = {scope: visit(scope).get(f"/api/jobs/{job}").json()["job"] for scope in ("read", "run")}

    assert told["read"]["label"] == ""
    assert NAME_CANARY in told["run"]["label"]


def test_stream_tells_a_reader_figures_alone(visit, office):
    kinds = {
        scope: {
            data.get("kind")
            for _, _, data in read_events(visit(scope).get(f"/api/jobs/{office.job}/events").text)
        }
        for scope in ("read", "run")
    }

    assert "StepDone" in kinds["read"]
    assert "Line" not in kinds["read"]
    assert "Line" in kinds["run"]
    assert not kinds["run"] & {"Finished", "Alive"}


def test_fault_of_our_own_is_not_described(visit, desk, monkeypatch, capfd):
    def fail(*_):
        raise RuntimeError(f"about {NAME_CANARY}")

    monkeypatch.setattr(desk.audit, "read", fail)

    answer = visit("admin").get("/api/audit")

    assert answer.status_code == 500
    assert NAME_CANARY not in answer.text
    assert NAME_CANARY not in capfd.readouterr().err
    assert "RuntimeError" not in json.dumps(answer.json())
