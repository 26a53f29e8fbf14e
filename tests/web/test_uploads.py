"""Files that people send: kept private, within their limits, never unpacked, and gone in time.

Oracle: the limits that stand in the code, the bytes that were sent, and what zipfile made.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile

import pytest

from appliance.errors import UsageError
from appliance.queue.states import UnknownJobError
from appliance.web import receiving, uploads
from appliance.web.names import make_safe
from appliance.web.server import is_over
from appliance.web.uploads import KEEP_SECONDS, TooMuchError, Uploads
from tests.web.conftest import BASE, NAME_CANARY, TEXT_CANARY, log_in


@pytest.fixture
def box(tmp_path):
    return Uploads(tmp_path / "uploads", max_bytes=10_000)


def put(box, upload, name, data=b"text"):
    with box.receive(upload, name) as take:
        take(data)


def list_files(upload):
    return sorted(
        path.relative_to(upload.folder).as_posix()
        for path in upload.folder.rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("handbook/leave.md", "handbook/leave.md"),
        ("C:\\docs\\a.txt", "C:/docs/a.txt"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("./.ssh/../.bashrc", "ssh/bashrc"),
        ("a\x00b\n\x1b[31m.md", "ab[31m.md"),
        ("\u202egnp.md", "gnp.md"),
        ("-rf", "rf"),
        ("//", "file"),
        ("...", "file"),
        ("é.md", "é.md"),
        ("x" * 300 + ".docx", "x" * 115 + ".docx"),
        ("ü" * 200 + ".md", "ü" * 58 + ".md"),
    ],
)
def test_name_of_a_stranger_is_made_safe(name, safe):
    assert make_safe(name, default="file").as_posix() == safe


def test_name_that_is_nested_without_end_is_refused(box):
    with pytest.raises(UsageError, match="too deep"):
        make_safe("a/" * 500, default="file")


def test_files_lie_as_they_came_closed_to_others(box):
    upload = box.begin("Our docs")
    put(box, upload, "a/one.md", b"one")
    put(box, upload, "two.md", b"two")

    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in upload.folder.parents[1].rglob("*")
    }

    assert upload.folder.name == "Our docs"
    assert (upload.folder / "a" / "one.md").read_bytes() == b"one"
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert (box.find(upload.id).num_files, box.find(upload.id).num_bytes) == (2, 6)


def test_file_never_takes_the_place_of_another(box):
    upload = box.begin("")
    for data in (b"1", b"2", b"3"):
        put(box, upload, "same.md", data)
    with pytest.raises(UsageError, match="cannot be put"):
        put(box, upload, "same.md/below.md")

    assert list_files(upload) == ["same (2).md", "same (3).md", "same.md"]
    assert (upload.folder / "same.md").read_bytes() == b"1"


def test_file_that_is_too_large_leaves_nothing(box):
    upload = box.begin("")
    with pytest.raises(TooMuchError), box.receive(upload, "big.bin") as take:
        for _ in range(11):
            take(b"x" * 1000)

    assert list(upload.folder.parent.rglob("*")) == [upload.folder]
    assert box.find(upload.id).num_bytes == 0


def test_uploads_share_their_room(box):
    put(box, box.begin("a"), "a", b"x" * 6000)

    with pytest.raises(TooMuchError):
        put(box, box.begin("b"), "b", b"x" * 6000)


def test_upload_of_too_many_files_is_refused_with_a_way_out(box, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FILES", 3)
    upload = box.begin("")
    for number in range(3):
        put(box, upload, str(number))

    with pytest.raises(TooMuchError, match="too many files") as told:
        put(box, upload, "3")

    assert "zip" in told.value.fix
    assert len(list_files(upload)) == 3


def test_too_many_uploads_are_refused(box, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 2)
    box.begin("")
    box.begin("")

    with pytest.raises(TooMuchError):
        box.begin("")


def test_full_disk_is_left_its_room(box, monkeypatch):
    monkeypatch.setattr(uploads, "MIN_FREE_BYTES", 2**62)

    with pytest.raises(TooMuchError, match="disk"):
        box.begin("")


def test_unused_upload_is_removed_after_a_day(box):
    upload = box.begin("")
    put(box, upload, "a.md")
    began = upload.folder.parent.stat().st_mtime

    early = box.sweep(began + KEEP_SECONDS - 1, lambda job: True)
    late = box.sweep(began + KEEP_SECONDS + 1, lambda job: False)

    assert (early, late) == (0, 1)
    assert not upload.folder.parent.exists()
    assert box.find(upload.id) is None


@pytest.mark.parametrize("over", [False, True])
def test_upload_of_a_job_stays_as_long_as_the_job_may_need_it(box, over):
    upload = box.begin("")
    box.note_use(upload.id, 7)
    asked = []

    removed = box.sweep(4e9, lambda job: asked.append(job) or over)

    assert asked == [7]
    assert removed == int(over)
    assert upload.folder.exists() is not over


def test_uploads_are_found_again_and_half_sent_files_go(box, tmp_path):
    upload = box.begin("docs")
    put(box, upload, "a.md", b"12345")
    (upload.folder.parent / ".half").write_bytes(b"x")

    again = Uploads(tmp_path / "uploads", max_bytes=10_000).find(upload.id)

    assert again == box.find(upload.id)
    assert not (upload.folder.parent / ".half").exists()


class Teller:
    """A service that knows one job."""

    def __init__(self, job):
        self.job = job

    def ask(self, method, path):
        if self.job is None:
            raise UnknownJobError("there is no such job")
        return self.job


@pytest.mark.parametrize(
    ("job", "over"),
    [
        (None, True),
        ({"state": "running"}, False),
        ({"ended_at": 1.0}, True),
        ({"ended_at": 4e9}, False),
    ],
)
def test_job_is_over_a_day_after_its_end(job, over):
    assert is_over(Teller(job), 7) is over


def begin(client, name="docs"):
    answer = client.post("/api/uploads", json={"name": name})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def send(client, upload, name, data, **headers):
    return client.post(
        f"/api/uploads/{upload}/files", params={"name": name}, content=data, headers=headers
    )


def make_bomb(num_bytes):
    """A zip of zeros: a thousandth of what it unpacks to."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("zeros.txt", b"0" * num_bytes)
    return data.getvalue()


def test_bomb_lies_there_as_it_came(visit, desk):
    client, bomb = visit("run"), make_bomb(50 * 2**20)

    upload = begin(client)
    answer = send(client, upload, "bomb.zip", bomb)

    assert len(bomb) < 10**5
    assert answer.json()["num_bytes"] == len(bomb)
    assert list_files(desk.uploads.find(upload)) == ["bomb.zip"]
    assert (desk.uploads.find(upload).folder / "bomb.zip").read_bytes() == bomb


def test_body_without_an_end_is_cut_at_the_limit(visit, desk):
    desk.uploads.max_bytes = 3 * 2**20
    client, taken = visit("run"), []

    def endless():
        while len(taken) < 1000:
            taken.append(1)
            yield b"x" * 2**18

    upload = begin(client)
    answer = send(client, upload, "endless.bin", endless())

    assert answer.status_code == 413
    assert desk.uploads.find(upload).num_bytes == 0
    assert list_files(desk.uploads.find(upload)) == []


def test_body_that_says_it_is_too_large_is_not_read(visit, desk):
    desk.uploads.max_bytes = 100
    client = visit("run")

    answer = send(client, begin(client), "big.bin", b"x" * 101)

    assert answer.status_code == 413
    assert "fix" in answer.json()["error"]


def test_body_that_comes_too_slowly_is_given_up(visit, desk, monkeypatch):
    monkeypatch.setattr(receiving, "GRACE_SECONDS", -1.0)
    monkeypatch.setattr(receiving, "MIN_BYTES_PER_SECOND", 2**60)
    client = visit("run")

    answer = send(client, begin(client), "slow.bin", b"x" * 100)

    assert answer.status_code == 408


def test_files_that_come_at_once_have_a_limit(visit, desk, monkeypatch):
    monkeypatch.setattr(receiving, "MAX_AT_ONCE", 0)
    client = visit("run")

    assert send(client, begin(client), "a.md", b"x").status_code == 503


@pytest.mark.parametrize("upload", ["0" * 32, "..", "%2e%2e%2f", "0" * 31 + "g", "0" * 33])
def test_upload_that_was_not_begun_takes_nothing(visit, upload):
    assert send(visit("admin"), upload, "a.md", b"x").status_code == 404


def test_upload_needs_the_scope_run_and_a_page_of_ours(visit, desk):
    upload = begin(visit("run"))
    browser = visit()
    secret = log_in(browser, desk, "run")

    assert send(visit(), upload, "a.md", b"x").status_code == 401
    assert send(visit("read"), upload, "a.md", b"x").status_code == 403
    assert send(browser, upload, "a.md", b"x", origin=BASE).status_code == 403
    foreign = {"origin": "https://evil.example", "x-form-secret": secret}
    assert send(browser, upload, "a.md", b"x", **foreign).status_code == 403
    ours = {"origin": BASE, "x-form-secret": secret}
    assert send(browser, upload, "a.md", b"x", **ours).status_code == 200


def test_dashboard_without_uploads_says_so(visit, desk):
    desk.uploads.max_bytes = 0
    client = visit("run")

    answer = client.post("/api/uploads", json={})

    assert answer.status_code == 400
    assert client.get("/api/start").json()["upload_bytes"] == 0
    assert "data-upload" not in client.get("/start", headers={"accept": "text/html"}).text


def test_upload_becomes_a_plan_and_a_job_that_keeps_it(visit, desk, office, capfd):
    client = visit("run")
    upload = begin(client, f"{NAME_CANARY} sent")
    for path in office.roots.rglob("procedure-*.md"):
        send(client, upload, f"steps/{path.name}", path.read_bytes())
    send(client, upload, "bomb.zip", make_bomb(100 * 2**20))
    send(client, upload, f"{NAME_CANARY}.md", f"# Note\n\n{TEXT_CANARY}".encode())
    plan = client.post("/api/plans", json={"folder": upload}).json()
    client.portal.call(_finish, desk.plans._tasks[plan["id"]])

    planned = client.get(f"/api/plans/{plan['id']}").json()
    job = client.post("/api/jobs", json={"plan": plan["id"]}).json()
    kept = desk.uploads.sweep(4e9, lambda number: number != job["id"])
    said = "".join(capfd.readouterr()) + (desk.folder / "audit.jsonl").read_text()

    assert planned["fault"] is None, planned["fault"]
    assert planned["folder"] == f"{NAME_CANARY} sent"
    assert planned["planned"]["files"]["used"] >= 10
    assert [row["path"].partition("/")[0] for row in planned["planned"]["skipped_files"]] == [
        "bomb.zip"
    ]
    assert kept == 0
    assert NAME_CANARY not in said and TEXT_CANARY not in said
    client.post(f"/api/jobs/{job['id']}/cancel")


async def _finish(task):
    await task


def test_private_folder_is_private_whatever_the_mask(tmp_path):
    before = os.umask(0)
    try:
        upload = Uploads(tmp_path / "deep" / "uploads", 100).begin("docs")
    finally:
        os.umask(before)

    assert stat.S_IMODE(upload.folder.parents[1].stat().st_mode) == 0o700
