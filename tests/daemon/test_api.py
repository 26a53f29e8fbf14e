"""The control socket of a real daemon whose jobs never start: every question, every bad one."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from appliance.daemon.client import Client, HandOverNeeded
from appliance.errors import ApplianceError, ServiceError
from tests.daemon.service import WAITING, acting_as, running

STRANGER = 65_534
"""nobody, in the group nogroup."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")


@pytest.fixture(scope="module")
def folder():
    """A folder that another user can reach."""
    path = Path(tempfile.mkdtemp(prefix="appliance-api-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def daemon(folder):
    settings = WAITING + f"users_group: nogroup\ndocument_roots: [{folder}/open]\n"
    with running(folder, settings) as daemon:
        yield daemon


@pytest.fixture
def documents(folder):
    """Documents of root's, in a folder that others may not open."""
    return make_documents(Path(tempfile.mkdtemp(dir=folder)), mode=0o700)


def make_documents(path, mode=0o755, uid=0):
    path.mkdir(exist_ok=True, parents=True)
    (path / "one.txt").write_text("text")
    for item in (path, path / "one.txt"):
        os.chown(item, uid, uid)
    path.chmod(mode)
    return path


class Connection(http.client.HTTPConnection):
    """HTTP without any politeness."""

    def __init__(self, daemon):
        super().__init__("localhost", timeout=30)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(daemon.socket))


def ask(daemon, method, path, body=None, **headers):
    """Status and answer of a request that no client of ours would send."""
    connection = Connection(daemon)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def make_body(documents="/srv", **about):
    recipe = about.pop("recipe", {})
    return json.dumps(
        {"key": os.urandom(8).hex(), "documents": str(documents), "recipe": recipe} | about
    )


def submit(daemon, documents, **about):
    status, answer = ask(daemon, "POST", "/v1/jobs", make_body(documents, **about))
    assert status in (200, 201), answer
    return answer["job"]


BAD_BODIES = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "null": "null",
    "a number": "1e999",
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe",
    "a NUL": b"\0",
    "no key": '{"documents": "/srv"}',
    "no documents": '{"key": "a"}',
    "empty key": make_body(key=""),
    "long key": make_body(key="k" * 201),
    "NUL in key": make_body(key="a\0b"),
    "NUL in documents": make_body("/srv\0/x"),
    "relative documents": make_body("srv"),
    "empty documents": make_body(""),
    "home of documents": make_body("~/docs"),
    "surrogate": '{"key": "a", "documents": "/\\ud800"}',
    "documents a number": '{"key": "a", "documents": 7}',
    "NUL in base": make_body(base="/a\0"),
    "empty base": make_body(base=""),
    "base a list": make_body(base=[]),
    "unknown key": make_body(unknown=1),
    "recipe a text": make_body(recipe="tune"),
    "recipe unknown": make_body(recipe={"tune": {"ranc": 1}}),
    "recipe wrong": make_body(recipe={"tune": {"rank": 0}, "export": {"precision": "int3"}}),
    "recipe infinite": make_body(recipe={"tune": {"lr": 1e999}}),
    "kind unknown": make_body(kind="forget"),
    "priority text": make_body(priority="high"),
    "priority large": make_body(priority=101),
    "priority huge": make_body(priority=10**30),
    "fresh a text": make_body(fresh="perhaps"),
}


def test_order_that_names_a_folder_of_general_text_is_refused(daemon, documents):
    body = make_body(documents, recipe={"pretrain": {"replay": "/home/someone"}})

    status, answer = ask(daemon, "POST", "/v1/jobs", body)

    assert status == 400
    assert answer["error"]["what"] == "the service reads no folder of general text"
    assert "--here" in answer["error"]["fix"]


def test_order_tells_which_line_of_the_pipeline_it_wants(daemon, documents):
    assert submit(daemon, documents, kind="pretrain")["kind"] == "pretrain"


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_order_is_refused_with_a_reason(daemon, body):
    status, answer = ask(daemon, "POST", "/v1/jobs", body)

    assert status == 400
    assert answer["error"]["what"] == "the request is not understood"
    assert answer["error"]["why"]


def test_all_faults_of_an_order_are_told_at_once(daemon):
    body = make_body(recipe={"tune": {"rank": 0}, "export": {"precision": "int3"}})

    _, answer = ask(daemon, "POST", "/v1/jobs", body)

    assert "recipe.tune.rank" in answer["error"]["why"]
    assert "recipe.export.precision" in answer["error"]["why"]


def test_order_that_is_too_large_is_refused(daemon):
    status, answer = ask(daemon, "POST", "/v1/jobs", b'"' + b"x" * 2**20 + b'"')

    assert (status, answer["error"]["what"]) == (400, "the request is too large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/jobs/x", 404),
        ("GET", "/v1/jobs/-1", 404),
        ("GET", "/v1/jobs/0", 404),
        ("GET", "/v1/jobs/999999", 404),
        ("GET", f"/v1/jobs/{10**40}", 404),
        ("GET", "/v1/jobs/999999/events", 404),
        ("GET", "/v1/jobs/999999/bundle", 404),
        ("POST", "/v1/jobs/999999/cancel", 404),
        ("POST", "/v1/jobs/999999/no-such-verb", 404),
        ("GET", "/v1/jobs/%00", 404),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/%ff", 404),
        ("DELETE", "/v1/jobs", 405),
        ("PUT", "/v1/jobs/1", 405),
        ("POST", "/v1/status", 405),
        ("GET", "/v1/jobs?limit=many", 400),
        ("GET", "/v1/jobs?before=x", 400),
        ("PUT", "/v1/documents", 400),
    ],
)
def test_question_that_has_no_answer_is_refused_as_json(daemon, method, path, status):
    found, answer = ask(daemon, method, path)

    assert found == status
    assert answer["error"]["what"]


@pytest.mark.parametrize("query", ["limit=0", "limit=-5", f"limit={10**40}", f"before={10**40}"])
def test_limits_of_a_list_are_held_within_reason(daemon, query):
    assert ask(daemon, "GET", f"/v1/jobs?{query}")[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /v1/documents?source=/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc",
    ],
)
def test_rubbish_on_the_socket_hurts_nobody(daemon, raw):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(daemon.socket))
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(2**16):
            pass

    assert ask(daemon, "GET", "/v1/status")[0] == 200


def test_order_becomes_a_job_that_waits(daemon, documents):
    job = submit(daemon, documents, priority=3)

    assert (job["state"], job["priority"], job["owner"]) == ("queued", 3, os.geteuid())
    waiting = daemon.wait_for(job["id"], lambda row: row.get("waits_for"))
    assert waiting["waits_for"].startswith("memory: ")
    assert [row["id"] for row in ask(daemon, "GET", "/v1/jobs?limit=1")[1]["jobs"]] == [job["id"]]


def test_same_key_is_the_same_order(daemon, documents):
    body = make_body(documents)

    answers = [ask(daemon, "POST", "/v1/jobs", body) for _ in range(2)]

    assert [status for status, _ in answers] == [201, 200]
    assert [answer["is_new"] for _, answer in answers] == [True, False]
    assert len({answer["job"]["id"] for _, answer in answers}) == 1


def test_same_work_is_the_same_job_while_it_lives(daemon, documents):
    first, second = submit(daemon, documents), submit(daemon, documents)
    other = submit(daemon, documents, recipe={"tune": {"rank": 3}})

    assert first["id"] == second["id"] != other["id"]


def test_many_clients_at_once_make_one_job(daemon, documents):
    jobs = []
    threads = [
        threading.Thread(target=lambda: jobs.append(submit(daemon, documents)["id"]))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(jobs) == 20 and len(set(jobs)) == 1


def test_job_is_canceled_and_resumed(daemon, documents):
    job_id = submit(daemon, documents)["id"]

    assert ask(daemon, "POST", f"/v1/jobs/{job_id}/cancel")[1]["state"] == "canceled"
    assert ask(daemon, "POST", f"/v1/jobs/{job_id}/resume")[1]["state"] in ("queued", "waiting")
    status, answer = ask(daemon, "POST", f"/v1/jobs/{job_id}/retry")
    assert (status, answer["error"]["what"]) == (400, f"job {job_id} cannot be retried")


def test_unknown_verb_is_told_which_there_are(daemon, documents):
    job_id = submit(daemon, documents)["id"]

    status, answer = ask(daemon, "POST", f"/v1/jobs/{job_id}/delete")

    assert (status, answer["error"]["why"]) == (400, "they can cancel, resume, retry")


def test_job_that_is_not_done_has_no_bundle(daemon, documents):
    job_id = submit(daemon, documents)["id"]

    status, answer = ask(daemon, "GET", f"/v1/jobs/{job_id}/bundle")

    assert (status, answer["error"]["what"]) == (400, f"job {job_id} has no bundle")


def test_events_of_a_job_that_never_ran_are_its_state_alone(daemon, documents):
    job = submit(daemon, documents)
    run = Path(job["run"])
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text('{"kind": "Note", "at": 1, "text": "of an earlier job"}\n')

    rows = [json.loads(line) for line in daemon.client.read_events(job["id"])]

    assert [row["kind"] for row in rows] == ["JobState"]


def test_status_tells_counts_and_what_is_waited_for(daemon, documents):
    job_id = submit(daemon, documents)["id"]
    daemon.wait_for(job_id, lambda row: row.get("waits_for"))

    status = daemon.client.ask("GET", "/v1/status")

    assert status["pid"] == daemon.pid
    assert status["jobs"]["queued"] >= 1
    assert status["waits"][str(job_id)].startswith("memory")
    assert (status["trouble"], status["settings_fault"]) == ("", "")


@needs_root
def test_jobs_of_others_are_not_there(daemon, documents):
    job_id = submit(daemon, documents)["id"]

    with acting_as(STRANGER):
        assert ask(daemon, "GET", f"/v1/jobs/{job_id}")[0] == 404
        assert ask(daemon, "GET", f"/v1/jobs/{job_id}/events")[0] == 404
        for part in ("bundle", "history", "stages", "documents", "verification"):
            assert ask(daemon, "GET", f"/v1/jobs/{job_id}/{part}")[0] == 404
        assert ask(daemon, "POST", f"/v1/jobs/{job_id}/cancel")[0] == 404
        listed = ask(daemon, "GET", "/v1/jobs")[1]["jobs"]
        assert job_id not in [job["id"] for job in listed]
        with pytest.raises(ServiceError, match="there is no job"):
            daemon.client.ask("GET", f"/v1/jobs/{job_id}")


def test_job_that_has_not_begun_tells_nothing_of_its_run(daemon, documents):
    job_id = submit(daemon, documents)["id"]

    history = ask(daemon, "GET", f"/v1/jobs/{job_id}/history")[1]
    stages = ask(daemon, "GET", f"/v1/jobs/{job_id}/stages")[1]
    ledger = ask(daemon, "GET", f"/v1/jobs/{job_id}/documents")[1]
    status, answer = ask(daemon, "GET", f"/v1/jobs/{job_id}/verification")

    assert (history["events"], history["next"]) == ([], -1)
    assert stages == {"stages": {}}
    assert ledger == {"rows": [], "next": None}
    assert (status, answer["error"]["name"]) == (400, "BundleError")


@pytest.mark.parametrize("query", ["history?after=x", "documents?after=", "documents?limit=1e3"])
def test_place_in_a_run_is_a_number(daemon, documents, query):
    job_id = submit(daemon, documents)["id"]

    assert ask(daemon, "GET", f"/v1/jobs/{job_id}/{query}")[0] == 400


@needs_root
def test_answer_for_a_job_of_others_is_that_for_none(daemon, documents):
    job_id = submit(daemon, documents)["id"]

    with acting_as(STRANGER):
        ours = ask(daemon, "GET", f"/v1/jobs/{job_id}")[1]["error"]
        none = ask(daemon, "GET", "/v1/jobs/888888")[1]["error"]

    assert {key: value.replace(str(job_id), "N") for key, value in ours.items()} == {
        key: value.replace("888888", "N") for key, value in none.items()
    }


@needs_root
def test_user_hands_a_folder_over_and_owns_its_job(daemon, folder):
    documents = make_documents(folder / "of-nobody", mode=0o700, uid=STRANGER)
    body = json.loads(make_body(documents))

    with acting_as(STRANGER):
        with pytest.raises(HandOverNeeded):
            daemon.client.ask("POST", "/v1/jobs", body)
        assert daemon.client.hand_over(documents) == (1, 0)
        job = daemon.client.ask("POST", "/v1/jobs", body | {"is_handed_over": True})["job"]
        assert ask(daemon, "GET", f"/v1/jobs/{job['id']}")[0] == 200

    assert job["owner"] == STRANGER
    copy = Path(json.loads(submit_request(daemon, job["id"]))["documents"])
    assert copy.is_relative_to(daemon.state / "documents" / str(STRANGER))
    assert (copy / "one.txt").read_text() == "text"


def submit_request(daemon, job_id):
    from appliance.queue.store import Store

    with Store.open_reader(daemon.state / "queue.sqlite3") as reader:
        return reader.find(job_id).request


@needs_root
@pytest.mark.parametrize("where", ["private", "state", "copies of root", "link in an open root"])
def test_user_cannot_have_others_folders_read(daemon, folder, documents, where):
    (folder / "open").mkdir(exist_ok=True)
    if where == "private":
        path = documents
    elif where == "state":
        path = daemon.state / "runs"
    elif where == "copies of root":
        path = make_documents(daemon.state / "documents" / "0" / "copy")
    else:
        path = folder / "open" / f"link-{documents.name}"
        path.symlink_to(documents)

    with acting_as(STRANGER), pytest.raises(HandOverNeeded):
        daemon.client.ask("POST", "/v1/jobs", json.loads(make_body(path, is_handed_over=True)))


@needs_root
def test_user_may_have_an_open_root_read_in_place(daemon, folder):
    documents = make_documents(folder / "open" / "docs")

    with acting_as(STRANGER):
        job = daemon.client.ask("POST", "/v1/jobs", json.loads(make_body(documents)))["job"]

    assert f'"{documents}"' in submit_request(daemon, job["id"])


@needs_root
def test_user_cannot_name_a_base_of_others(daemon, folder, documents):
    shared = make_documents(folder / "open" / "docs")

    with acting_as(STRANGER), pytest.raises(ServiceError, match="base model"):
        daemon.client.ask("POST", "/v1/jobs", json.loads(make_body(shared, base=str(documents))))


@needs_root
def test_priority_of_users_is_bounded(daemon, folder):
    shared = make_documents(folder / "open" / "urgent")

    with acting_as(STRANGER):
        job = daemon.client.ask("POST", "/v1/jobs", json.loads(make_body(shared, priority=100)))

    assert job["job"]["priority"] == 10


@needs_root
def test_user_outside_the_group_gets_nothing(daemon):
    with (
        acting_as(STRANGER - 1),
        pytest.raises(PermissionError),
        socket.socket(socket.AF_UNIX) as s,
    ):
        s.connect(str(daemon.socket))
    daemon.socket.chmod(0o666)  # the mode of the socket is one lock, the question another
    try:
        with acting_as(STRANGER - 1):
            status, answer = ask(daemon, "GET", "/v1/status")
    finally:
        daemon.socket.chmod(0o660)

    assert (status, answer["error"]["what"]) == (400, "this user may not use the service")


@needs_root
def test_inbox_shows_users_their_own_folders(daemon, folder):
    make_documents(daemon.state / "inbox" / "of-root")
    make_documents(daemon.state / "inbox" / "of-nobody", uid=STRANGER)
    (daemon.state / "inbox").chmod(0o711)

    def list_names():
        return {row["name"] for row in daemon.client.ask("GET", "/v1/inbox")["folders"]}

    while list_names() != {"of-root", "of-nobody"}:  # the next look is seconds away
        threading.Event().wait(0.2)
    with acting_as(STRANGER):
        assert list_names() == {"of-nobody"}


def test_copy_that_a_job_waits_for_is_not_changed(daemon, folder, documents):
    unreadable = folder / "not-there"
    copy_of(daemon, unreadable)
    job = submit(daemon, unreadable, is_handed_over=True)

    with pytest.raises(ServiceError, match=f"job {job['id']} works on an earlier copy"):
        daemon.client.hand_over(documents_named(documents, unreadable))


def documents_named(documents, source):
    """A folder that says of itself that it is another."""

    class Named(type(documents)):
        def __str__(self):
            return str(source)

    return Named(documents)


def copy_of(daemon, source):
    from appliance.daemon.handover import name_copy

    return make_documents(daemon.state / "documents" / str(os.geteuid()) / name_copy(str(source)))


def test_refusal_reaches_a_client_that_still_sends(daemon, folder, tmp_path):
    large = tmp_path / "large"
    large.mkdir()
    (large / "zeros.bin").write_bytes(bytes(8 * 2**20))
    copy_of(daemon, large)
    make_body_ = json.loads(make_body(folder / "nowhere"))
    copy_of(daemon, folder / "nowhere")
    daemon.client.ask("POST", "/v1/jobs", make_body_ | {"is_handed_over": True})

    with pytest.raises(ServiceError, match="works on an earlier copy"):
        daemon.client.hand_over(documents_named(large, folder / "nowhere"))


def test_same_folder_is_taken_from_one_hand_at_a_time(daemon):
    first = Connection(daemon)
    first.putrequest("PUT", "/v1/documents?source=/twice")
    first.putheader("Transfer-Encoding", "chunked")
    first.endheaders()
    copies = daemon.state / "documents" / str(os.geteuid())
    while not list(copies.glob(".twice-*.partial")):
        threading.Event().wait(0.05)

    status, answer = ask(daemon, "PUT", "/v1/documents?source=/twice", b"")
    first.close()

    assert (status, answer["error"]["what"]) == (400, "this folder is being handed over now")
    while list(copies.glob(".twice-*.partial")):  # what the first one began is taken away
        threading.Event().wait(0.05)


def test_slow_senders_do_not_keep_others_from_an_answer(daemon):
    slow = [Connection(daemon) for _ in range(60)]
    for number, connection in enumerate(slow):
        connection.putrequest("PUT", f"/v1/documents?source=/slow-{number}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()

    assert ask(daemon, "GET", "/v1/status")[0] == 200
    for connection in slow:
        connection.close()


def test_nothing_of_this_was_a_fault_of_the_program(daemon):
    """The last test of the file: the journal of all of the above."""
    log = daemon.log.read_text()

    assert not (daemon.state / "fault.txt").exists()
    assert "Traceback" not in log and "Exception" not in log
    assert "one.txt" not in log and "of-nobody" not in log


class Server:
    """Something else that answers on a socket."""

    def __init__(self, path, answer):
        self.path, self.answer = path, answer
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                if self.answer is not None:
                    connection.recv(2**16)
                    connection.sendall(self.answer)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


def frame(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "what", "why"),
    [
        (b"", "the service does not answer", "RemoteDisconnected"),
        (b"220 smtp ready\r\n", "the service does not answer", "BadStatusLine"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
            "the service does not answer",
            "Incomp",
        ),
        (frame("<html>"), "the service answered something that is not its own", "status 200"),
        (frame("[1]"), "the service answered something that is not its own", "status 200"),
        (
            frame("busy", "503 x"),
            "the service answered something that is not its own",
            "status 503",
        ),
        (frame('{"error": {"name": "Exception"}}', "400 x"), "the service refused", ""),
    ],
)
def test_client_tells_what_is_wrong_with_the_other_side(tmp_path, answer, what, why):
    server = Server(tmp_path / "socket", answer)
    try:
        with pytest.raises(ServiceError) as caught:
            Client(tmp_path / "socket").ask("GET", "/v1/status")
    finally:
        server.close()

    assert caught.value.what == what
    assert why in caught.value.why
    assert "None" not in caught.value.why


def test_client_tells_when_nobody_listens(tmp_path):
    with pytest.raises(ServiceError) as caught:
        Client(tmp_path / "none").ask("GET", "/v1/status")

    assert caught.value.why == f"{tmp_path / 'none'}: No such file or directory"


def test_client_raises_the_class_that_the_service_raised(tmp_path):
    answer = json.dumps({"error": {"name": "GateError", "what": "a", "why": "b", "fix": "c"}})
    server = Server(tmp_path / "socket", frame(answer, "400 x"))
    try:
        with pytest.raises(ApplianceError) as caught:
            Client(tmp_path / "socket").ask("GET", "/v1/status")
    finally:
        server.close()

    assert type(caught.value).__name__ == "GateError"
    assert (caught.value.what, caught.value.why, caught.value.fix) == ("a", "b", "c")
