"""Pages: what they show of a real job, how they take hostile names, what they teach when empty."""

from __future__ import annotations

import io
import json
import re
import tarfile

import pytest
from markupsafe import escape

from appliance.daemon.client import Client
from appliance.errors import DocumentsError
from appliance.reports.axes import choose_ticks
from appliance.web.charts import HEIGHT, WIDTH, plot_loss
from appliance.web.curves import Curves, HeldOutLoss, History, Step
from appliance.web.desk import Desk, Visitor
from appliance.web.events import read_place
from appliance.web.folders import find_folder, list_folders
from appliance.web.jobs import make_page
from appliance.web.rendering import render
from tests.web.conftest import BASE, HOSTILE, NAME_CANARY, log_in, read_events

PAGE = {"accept": "text/html"}


def test_job_page_shows_every_part_of_a_finished_job(visit, office):
    text = visit("run").get(f"/jobs/{office.job}", headers=PAGE).text

    for heading in ("Training", "Stages", "Plan", "Documents", "Evaluation", "Parity ladder"):
        assert re.search(rf"<h2[^>]*>{heading}</h2>", text), heading
    assert "Download the bundle" in text
    assert "<svg" in text


def test_job_page_has_the_figures_of_the_job(visit, office):
    page = visit("run").get(f"/api/jobs/{office.job}").json()
    result = office.daemon.show(office.job)["result"]

    assert page["evaluation"]["tuned"]["loss"] == result["tuned_loss"]
    assert page["tuned"]["peak_memory_bytes"] == result["peak_memory_bytes"]
    assert len(page["parity"]["rungs"]) == len(result["parity"])
    assert page["curves"]["steps"][-1]["step"] == page["curves"]["num_steps"]


def test_hostile_names_are_text_on_every_page(visit, office):
    client = visit("admin")
    paths = ["/jobs", f"/jobs/{office.job}", f"/jobs/{office.job}/documents", "/start", "/models"]

    for path in paths:
        text = client.get(path, headers=PAGE).text
        assert "<img src=x" not in text
        assert "<script>alert" not in text
        assert "62615533" not in text  # {{ 7919 * 7907 }}


def read_ledger(client, job):
    """All rows of a ledger, page by page, and the text of its pages."""
    rows, text, after = [], "", 0
    while after is not None:
        path = f"/jobs/{job}/documents?after={after}"
        page = client.get(f"/api{path}").json()
        rows, text = rows + page["rows"], text + client.get(path, headers=PAGE).text
        after = page["next"]
    return rows, text


def test_ledger_names_every_file_as_text(visit, office):
    rows, text = read_ledger(visit("run"), office.job)

    hostile = [row["path"] for row in rows if NAME_CANARY in row["path"]]
    assert len(hostile) == len(HOSTILE)
    for path in hostile:
        assert f'<bdi class="file">{escape(path)}</bdi>' in text


def test_ledger_can_be_narrowed_and_turned(visit, office):
    client = visit("run")
    path = f"/api/jobs/{office.job}/documents"
    rows, _ = read_ledger(client, office.job)

    skipped = client.get(f"{path}?verdict=skipped").json()["rows"]
    later = client.get(f"{path}?after={len(rows) - 2}").json()

    assert skipped == [row for row in rows if row["verdict"] == "skipped"] != []
    assert later["rows"] == rows[-2:]
    assert later["next"] is None


def test_bundle_is_sent_whole(visit, office):
    answer = visit("run").get(f"/jobs/{office.job}/bundle")

    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        names = set(tar.getnames())
    assert {entry["path"] for entry in manifest["files"]} <= names
    assert answer.headers["content-disposition"].endswith(f'bundle-of-job-{office.job}.tar"')


def test_bundle_that_was_changed_is_told(visit, office):
    bundle = office.daemon.state / "runs"
    (card,) = bundle.glob("*/bundle/MODEL_CARD.md")
    before = card.read_bytes()
    client = visit("run")
    assert client.get(f"/api/jobs/{office.job}/verification").status_code == 200
    card.write_bytes(before + b"x")
    try:
        answer = client.get(f"/api/jobs/{office.job}/verification")
    finally:
        card.write_bytes(before)

    assert answer.status_code == 400
    assert answer.json()["error"]["name"] == "BundleError"


def test_stream_goes_on_where_it_broke_off(visit, office):
    client = visit("run")
    path = f"/api/jobs/{office.job}/events"
    events = list(read_events(client.get(path).text))
    half = events[len(events) // 2]

    again = list(read_events(client.get(path, headers={"last-event-id": str(half[0])}).text))

    assert [place for place, _, _ in again if place] == [
        place for place, _, _ in events if place and place > half[0]
    ]
    assert again[-1][1] == "end"


@pytest.mark.parametrize("text", [None, "", "x", "-1", "1" * 16, "１２", "1.5"])
def test_stream_begins_anew_when_the_last_id_is_no_place(text):
    assert read_place(text) == -1


def test_jobs_of_nobody_teach_how_to_begin(visit, tmp_path, office, desk):
    text = visit("run").get("/compare", headers=PAGE).text
    assert "Nothing to compare yet" in text or "<select" in text

    desk.roots = ()
    start = visit("run").get("/start", headers=PAGE).text
    assert "appliance dashboard --documents" in start


def test_service_that_is_away_is_told_with_a_way_out(tmp_path, office, visit, desk):
    gone = Desk(tmp_path / "gone", Client(tmp_path / "no.sock"), ())
    desk.client = gone.client

    answer = visit("run").get("/jobs", headers=PAGE)

    assert answer.status_code == 503
    assert "appliance service status" in answer.text


def test_form_starts_a_job_from_its_plan(visit, desk, office):
    client = visit()
    secret = log_in(client, desk, "run")
    headers = {"origin": BASE, "sec-fetch-site": "same-origin"}
    folder = client.get("/api/start").json()["folders"][0]
    asked = client.post(
        "/plans", data={"form_secret": secret, "folder": folder["id"]}, headers=headers
    )
    plan = asked.headers["location"].removeprefix("/plans/")
    early = client.post("/jobs", data={"form_secret": secret, "plan": plan}, headers=headers)
    task = desk.plans._tasks.get(plan)
    if task is not None:
        client.portal.call(_finish, task)

    shown = client.get(f"/plans/{plan}", headers=PAGE).text
    started = [
        client.post("/jobs", data={"form_secret": secret, "plan": plan}, headers=headers)
        for _ in range(2)
    ]

    assert asked.status_code == 303
    assert early.status_code == 400
    assert "Start this job" in shown
    assert {answer.status_code for answer in started} == {303}
    assert len({answer.headers["location"] for answer in started}) == 1  # twice is once
    job = started[0].headers["location"].rsplit("/", 1)[1]
    canceled = client.post(f"/jobs/{job}/cancel", data={"form_secret": secret}, headers=headers)
    assert canceled.status_code == 303
    assert office.daemon.show(int(job))["state"] == "canceled"


async def _finish(task):
    await task


def test_folders_are_those_below_the_roots_without_links(tmp_path):
    root = tmp_path / "root"
    for name in ("one", "two/deep", ".hidden", "empty"):
        (root / name).mkdir(parents=True)
    for name in ("one/a.txt", "two/deep/b.txt", ".hidden/c.txt"):
        (root / name).write_text("text")
    (root / "link").symlink_to("/etc")

    found = list_folders([root])

    assert [(folder.path.name, folder.num_files) for folder in found] == [("one", 1), ("two", 1)]
    assert find_folder([root], found[1].id) == root / "two"


def test_folder_that_is_gone_is_no_longer_offered(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("text")
    (folder,) = list_folders([tmp_path])
    (tmp_path / "one" / "a.txt").unlink()
    (tmp_path / "one").rmdir()

    with pytest.raises(DocumentsError):
        find_folder([tmp_path], folder.id)


def test_history_takes_what_came_later():
    history = History()
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5)):
        history.take(
            {
                "kind": "StepDone",
                "step": step,
                "num_steps": 9,
                "loss": loss,
                "tokens_per_second": 1.0,
            }
        )

    assert [(row.step, row.loss) for row in history.draw().steps] == [(1, 5.0), (2, 4.5)]


@pytest.mark.parametrize(
    "event", [{}, {"kind": "StepDone"}, {"kind": "Line", "label": 3}, {"kind": 7}]
)
def test_history_passes_over_events_of_another_version(event):
    history = History()

    history.take(event)

    assert history.draw() == Curves()


def test_long_history_is_thinned():
    history = History()
    for step in range(1, 10_001):
        history.take(
            {
                "kind": "StepDone",
                "step": step,
                "num_steps": 10_000,
                "loss": 1.0,
                "tokens_per_second": 1.0,
            }
        )

    curves = history.draw()

    assert len(curves.steps) <= 240
    assert curves.steps[-1].step == 10_000


def test_plot_stays_inside_its_drawing_and_leaves_out_what_is_no_number():
    curves = Curves(
        num_steps=10,
        steps=(
            Step(step=1, loss=5.0, tokens_per_second=1.0),
            Step(step=2, loss=float("nan"), tokens_per_second=1.0),
            Step(step=10, loss=3.0, tokens_per_second=1.0),
        ),
        held_out=(HeldOutLoss(step=10, loss=3.5, is_best=True),),
    )

    drawing = plot_loss(curves)

    assert drawing is not None
    numbers = [float(n) for line in drawing.lines for n in re.findall(r"[\d.]+", line.path)]
    assert all(0 <= x <= WIDTH for x in numbers[::2])
    assert all(0 <= y <= HEIGHT for y in numbers[1::2])
    assert drawing.words == (
        "Loss: training from 5.000 to 3.000 at step 10; held-out documents 3.500 at step 10"
    )


VERDICT = {
    "decision": "do not deploy",
    "sentence": "do not deploy: base + search answers better (<b>p</b> = 0.01)",
    "gates": [
        {"name": "better than search", "passed": False, "measured": "0.31", "limit": "0.35"},
        {"name": "leaks", "passed": None, "measured": "", "limit": "AUC < 0.6"},
    ],
}


def test_verdict_of_a_refused_job_comes_from_its_stage(visit, desk, office):
    who = Visitor(name="link", scope="run", form_secret="x")
    view, curves = desk.histories.read(office.job)
    view = {name: value for name, value in view.items() if name != "result"}
    stages = {"verdict": {"value": VERDICT, "seconds": 0.1}, "unheard": {"value": 7, "seconds": 2}}

    page = make_page(view | {"state": "failed"}, curves, stages, who)
    text = render("job.html", who, "/jobs/1", page=page)

    assert page.verdict is not None
    assert "Do not deploy" in text
    assert "not measured" in text
    assert "<b>p</b>" not in text


def test_plot_of_nothing_is_none():
    assert plot_loss(Curves()) is None


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 126, [0, 50, 100]), (2.1, 5.2, [3, 4, 5]), (0, 1, [0, 0.5, 1])]
)
def test_ticks_are_round(low, high, ticks):
    assert choose_ticks(low, high) == ticks


def test_canary_is_in_the_ledger_of_who_may_see_it(visit, office):
    _, text = read_ledger(visit("run"), office.job)

    assert NAME_CANARY in text
