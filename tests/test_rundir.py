"""Receipts: finished stages are not done again, unfinished ones are, nothing half-made shows."""

import json

import pytest

from appliance.errors import BusyError, InterruptedRun, ResourceError
from appliance.events import StageFinished
from appliance.rundir import RunDir, StageFolder
from appliance.values import Bundle, Hardware, RateTrial, Rejected
from tests.planning.machines import make_hardware

CALLS = []


def count(given: Rejected, stage: StageFolder) -> RateTrial:
    """A stage that writes a file and returns how often it was called."""
    CALLS.append(given.choice)
    (stage.folder / "out.txt").write_text(given.reason)
    return RateTrial(lr=1.0, loss=float(len(CALLS)))


def look(hardware: Hardware, stage: StageFolder) -> RateTrial:
    """A stage that depends on the machine."""
    CALLS.append("look")
    return RateTrial(lr=1.0, loss=float(len(CALLS)))


def die(given: Rejected, stage: StageFolder) -> Bundle:
    """A stage that is killed after half its work."""
    kept = stage.folder / "checkpoint"
    if kept.exists():
        return Bundle(folder=stage.locate(kept.read_text()), manifest_sha256="", num_bytes=0)
    kept.write_text("half")
    raise KeyboardInterrupt


def given(choice="a", reason="b"):
    return Rejected(choice=choice, reason=reason)


@pytest.fixture(autouse=True)
def forget_calls():
    CALLS.clear()


@pytest.fixture
def events():
    return []


@pytest.fixture
def run(tmp_path, events):
    run = RunDir(tmp_path / "run", events.append, lambda: False)
    yield run
    run.close()


def test_stage_is_done_once_for_the_same_inputs(run, events):
    first = run.stage("count", count, given())
    second = run.stage("count", count, given())

    assert first == second
    assert CALLS == ["a"]
    finished = [event for event in events if isinstance(event, StageFinished)]
    assert [event.restored for event in finished] == [False, True]
    assert (run.path / "count" / "out.txt").read_text() == "b"


def test_stage_is_done_again_when_an_input_changes(run):
    run.stage("count", count, given())
    run.stage("count", count, given(reason="other"))

    assert len(CALLS) == 2
    assert (run.path / "count" / "out.txt").read_text() == "other"


def test_stage_does_not_depend_on_how_the_machine_is_at_the_moment(run):
    run.stage("look", look, make_hardware())
    changed = make_hardware().model_copy(update={"memory_bytes": 1, "disk_free_bytes": 2})
    run.stage("look", look, changed)

    assert len(CALLS) == 1


def test_killed_stage_shows_nothing_and_goes_on_from_what_it_left(run):
    with pytest.raises(KeyboardInterrupt):
        run.stage("die", die, given())

    assert not (run.path / "die").exists()
    assert run.stage("die", die, given()).folder == "die/half"


def test_killed_stage_with_other_inputs_begins_from_nothing(run):
    with pytest.raises(KeyboardInterrupt):
        run.stage("die", die, given())

    with pytest.raises(KeyboardInterrupt):
        run.stage("die", die, given(choice="other"))


@pytest.mark.parametrize("damage", ["{", "[]", json.dumps({"inputs": "x"})])
def test_damaged_receipt_is_no_receipt(run, damage):
    run.stage("count", count, given())
    (run.path / "receipts" / "count.json").write_text(damage)

    run.stage("count", count, given())

    assert len(CALLS) == 2


def test_folder_without_receipt_is_done_again(run):
    run.stage("count", count, given())
    (run.path / "receipts" / "count.json").unlink()

    run.stage("count", count, given())

    assert len(CALLS) == 2


def test_second_process_is_told_that_the_run_is_busy(run):
    with pytest.raises(BusyError, match="another process works on"):
        RunDir(run.path, lambda _: None, lambda: False)


def test_fresh_run_forgets_what_was_done(run, events):
    run.stage("count", count, given())
    run.close()

    again = RunDir(run.path, events.append, lambda: False, fresh=True)
    again.stage("count", count, given())
    again.close()

    assert len(CALLS) == 2


def test_stopped_run_begins_no_further_stage(tmp_path):
    run = RunDir(tmp_path / "run", lambda _: None, lambda: True)

    with pytest.raises(InterruptedRun, match="before stage count"):
        run.stage("count", count, given())
    run.close()
    assert CALLS == []


def test_run_in_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")

    with pytest.raises(ResourceError, match="cannot write to"):
        RunDir(tmp_path / "taken" / "run", lambda _: None, lambda: False)
