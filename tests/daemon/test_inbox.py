"""The watch folder: real folders, a real queue, a clock turned by hand."""

from __future__ import annotations

import datetime
import os
import shutil

import pytest

from appliance.daemon.inbox import is_time, look_into
from appliance.daemon.settings import InboxSettings
from appliance.events import Finished
from appliance.queue.states import Done
from appliance.queue.store import Store

START = 1_000_000.0
SETTLE = 30.0


class Inbox:
    """An inbox and what looks into it."""

    def __init__(self, folder, **settings):
        self.folder, self.path = folder, folder / "inbox"
        self.path.mkdir()
        self.now = START
        self.settings = InboxSettings(**settings)
        self.store = self.open()

    def open(self):
        return Store(self.folder / "queue.sqlite3", clock=lambda: self.now)

    def restart(self):
        """Another daemon takes over."""
        self.store.close()
        self.store = self.open()

    def look(self, seconds=5.0):
        self.now += seconds
        return look_into(self.path, self.folder / "runs", self.store, self.now, self.settings)

    def settle(self):
        """Look until what lies there has rested long enough; the ids of new jobs."""
        return self.look().submitted + self.look(SETTLE).submitted

    def drop(self, name="a", **files):
        """Put a folder into the inbox, or change one."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        for file, text in (files or {"one": "text"}).items():
            (folder / f"{file}.txt").write_text(text)
        return folder

    def finish(self, job_id):
        job = self.store.start(job_id, events_from=0)
        self.store.end(job_id, job.token, Done(result=Finished(result="{}").result))


@pytest.fixture
def make_inbox(tmp_path):
    made = []

    def make(**settings):
        made.append(Inbox(tmp_path, **settings))
        return made[-1]

    yield make
    for inbox in made:
        inbox.store.close()


@pytest.fixture
def inbox(make_inbox):
    return make_inbox()


def test_folder_becomes_a_job_when_it_has_rested(inbox):
    folder = inbox.drop()

    assert inbox.look().submitted == ()
    assert inbox.look(SETTLE - 1).submitted == ()
    (job_id,) = inbox.look(1).submitted

    job = inbox.store.find(job_id)
    assert f'"documents":"{folder}"' in job.request
    assert job.owner == folder.stat().st_uid


def test_folder_that_still_changes_has_to_rest_again(inbox):
    inbox.drop()
    inbox.look()
    for number in range(5):
        inbox.drop(**{f"file{number}": "more"})
        assert inbox.look(SETTLE).submitted == ()

    assert len(inbox.look(SETTLE).submitted) == 1


def test_folder_becomes_one_job_however_often_it_is_looked_at(inbox):
    inbox.drop()
    inbox.settle()

    assert [inbox.look(60).submitted for _ in range(3)] == [()] * 3


def test_restart_forgets_nothing_and_starts_nothing_twice(inbox):
    inbox.drop()
    inbox.look()
    inbox.restart()
    assert len(inbox.look(SETTLE).submitted) == 1
    inbox.restart()
    assert inbox.look(SETTLE).submitted == ()


def test_death_between_submission_and_memory_makes_no_second_job(inbox):
    inbox.drop()
    inbox.look()
    inbox.store.keep_drop = lambda drop: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        inbox.look(SETTLE)
    inbox.restart()

    inbox.look()

    assert len(inbox.store.list_jobs()) == 1
    assert inbox.store.find_drop("a").job_id == inbox.store.list_jobs()[0].id


def test_recipe_in_the_folder_is_heeded(inbox):
    (inbox.drop() / "appliance.yaml").write_text("tune: {rank: 4}")

    (job_id,) = inbox.settle()

    assert '"rank":4' in inbox.store.find(job_id).request


def test_recipe_that_goes_on_to_tune_makes_a_job_that_pretrains(inbox):
    (inbox.drop() / "appliance.yaml").write_text("pretrain: {then: tune}")

    (job_id,) = inbox.settle()

    assert inbox.store.find(job_id).kind == "pretrain"


def test_recipe_that_names_a_folder_of_general_text_is_refused(inbox):
    (inbox.drop() / "appliance.yaml").write_text("pretrain: {replay: /home/someone/letters}")

    assert inbox.settle() == ()
    assert "pretrain.replay" in inbox.store.find_drop("a").fault


def test_wrong_recipe_is_told_and_tried_again_when_it_was_mended(inbox):
    recipe = inbox.drop() / "appliance.yaml"
    recipe.write_text("tune: {ranc: 4}")

    assert inbox.settle() == ()
    assert "did you mean tune.rank" in inbox.store.find_drop("a").fault
    assert inbox.look(60).num_faults == 0, "it is told once"

    recipe.write_text("tune: {rank: 4}")
    assert len(inbox.settle()) == 1
    assert inbox.store.find_drop("a").fault == ""


def test_recipe_that_is_a_link_is_not_followed(inbox, tmp_path):
    (tmp_path / "secret.yaml").write_text("password: SECRET")
    (inbox.drop() / "appliance.yaml").symlink_to(tmp_path / "secret.yaml")

    assert inbox.settle() == ()

    assert "is a link" in inbox.store.find_drop("a").fault
    assert "SECRET" not in inbox.store.find_drop("a").fault


def test_empty_folder_is_no_fault_while_it_may_still_be_filled(inbox):
    (inbox.path / "a").mkdir()

    assert inbox.look().num_faults == 0
    assert inbox.look(SETTLE).num_faults == 1
    assert inbox.store.find_drop("a").fault == "the folder holds no file"

    inbox.drop()
    assert len(inbox.settle()) == 1


def test_folder_that_cannot_be_read_for_a_while_becomes_a_job_later(inbox, monkeypatch):
    inbox.drop()
    inbox.look()
    scandir = os.scandir

    def refuse(path="."):
        if str(path).endswith("/a"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    inbox.look(SETTLE)
    assert inbox.look(SETTLE).submitted == ()
    assert inbox.store.find_drop("a").fault == "Input/output error"
    monkeypatch.undo()

    assert len(inbox.settle()) == 1


def test_name_that_is_no_text_is_told(inbox):
    (inbox.path / os.fsdecode(b"\xff\xfe")).mkdir()
    inbox.drop(os.fsdecode(b"\xff\xfe"))
    inbox.drop("good")

    assert len(inbox.settle()) == 1

    assert "name" in inbox.store.find_drop(os.fsdecode(b"\xff\xfe")).fault


def test_folder_taken_away_is_forgotten_and_the_same_again_is_a_new_job(inbox):
    folder = inbox.drop()
    (first,) = inbox.settle()
    inbox.finish(first)
    shutil.copytree(folder, inbox.folder / "copy")  # with its times
    shutil.rmtree(folder)
    inbox.look()
    assert inbox.store.list_drops() == ()

    shutil.copytree(inbox.folder / "copy", folder)
    (second,) = inbox.settle()

    assert second != first


def test_folder_that_vanishes_during_a_look_is_no_fault_of_the_others(inbox, monkeypatch):
    for name in ("a", "b"):
        inbox.drop(name)
    inbox.look()
    stat = os.scandir

    def vanish(path="."):
        if str(path).endswith("/a"):
            shutil.rmtree(path)
        return stat(path)

    monkeypatch.setattr(os, "scandir", vanish)

    assert len(inbox.look(SETTLE).submitted) == 1


@pytest.mark.parametrize("kind", ["file", "link", "hidden"])
def test_only_plain_folders_count(inbox, kind):
    if kind == "file":
        (inbox.path / "a").write_text("text")
    elif kind == "link":
        (inbox.folder / "elsewhere").mkdir()
        (inbox.folder / "elsewhere" / "one.txt").write_text("text")
        (inbox.path / "a").symlink_to(inbox.folder / "elsewhere")
    else:
        inbox.drop(".a")

    assert inbox.settle() == ()
    assert inbox.store.list_drops() == ()


def test_changed_folder_is_not_tuned_again_unless_the_settings_say_when(inbox):
    inbox.drop()
    (first,) = inbox.settle()
    inbox.finish(first)
    inbox.drop(two="more")

    assert inbox.look().submitted == inbox.look(7 * 86400).submitted == ()


def test_changed_folder_is_tuned_again_at_its_time(make_inbox):
    inbox = make_inbox(retune_at="03:00")
    inbox.now = datetime.datetime(2026, 11, 23, 12, 0).timestamp()
    inbox.drop()
    (first,) = inbox.settle()
    inbox.finish(first)
    inbox.drop(two="more")

    assert inbox.look(3600).submitted == inbox.look(13 * 3600).submitted == ()
    (second,) = inbox.look(3600).submitted  # 03:00 and some seconds

    assert second != first
    assert inbox.store.find(second).run == inbox.store.find(first).run
    assert inbox.look(86400).submitted == ()


def test_change_during_its_job_is_tuned_after_it(make_inbox):
    inbox = make_inbox(retune_at="03:00")
    inbox.drop()
    (first,) = inbox.settle()
    inbox.store.start(first, events_from=0)
    inbox.drop(two="more")
    inbox.look()

    assert inbox.look(2 * 86400).submitted == ()
    inbox.store.end(first, 1, Done(result="{}"))
    (second,) = inbox.look().submitted

    assert second != first


def test_clock_turned_back_does_not_stop_the_inbox(inbox):
    inbox.drop()
    inbox.look()
    inbox.now -= 400 * 86400

    assert len(inbox.settle()) == 1


def moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("changed", "now", "expected"),
    [
        ("2026-11-23 12:00", "2026-11-24 02:59", False),
        ("2026-11-23 12:00", "2026-11-24 03:00", True),
        ("2026-11-23 02:00", "2026-11-23 03:00", True),
        ("2026-11-23 03:00", "2026-11-23 03:00", True),
        ("2026-11-23 03:01", "2026-11-23 23:59", False),
        ("2026-11-23 12:00", "2026-12-23 00:00", True),  # the service was off at its time
        ("2026-12-31 23:59", "2027-01-01 03:00", True),
    ],
)
def test_time_has_come_when_it_passed_since_the_change(changed, now, expected):
    assert is_time(moment(changed), moment(now), "03:00") is expected


def test_time_never_comes_without_one():
    assert not is_time(0.0, 1e9, None)
