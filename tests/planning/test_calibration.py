"""Notes of earlier runs. Oracle: differences and ratios by hand."""

import stat

import pytest

from appliance.planning.calibration import (
    ENOUGH,
    MAX_NOTES,
    SPEED_RANGE,
    correct_memory,
    correct_speed,
    keep_notes,
    load_notes,
    record_probe,
    record_run,
)
from appliance.planning.memory import estimate_memory
from appliance.planning.planner import make_plan
from appliance.planning.training import Training
from appliance.recipe import TuneRecipe
from appliance.values import BaseChoice, PlanTerms, RunNote, RunNotes, TunedModel
from tests.planning.machines import MIB, make_dataset, make_hardware, make_spec

SPEC = make_spec("embedded")
QLORA = Training(method="qlora", sequence_length=512, returns_memory=True)
RAW = estimate_memory(SPEC, QLORA)


def make_note(extra_bytes: int = 0, ratio: float = 1.0, **changes) -> RunNote:
    fields = {
        "kind": "cpu",
        "method": "qlora",
        "returns_memory": True,
        "planned_bytes": RAW.total_bytes,
        "moving_bytes": RAW.moving_bytes,
        "measured_bytes": RAW.total_bytes + extra_bytes,
        "planned_tokens_per_second": 1000.0,
        "tokens_per_second": 1000.0 * ratio,
    }
    return RunNote(**(fields | changes))


def correct(*notes: RunNote) -> int:
    return correct_memory(RAW, QLORA, RunNotes(runs=notes)).corrected_bytes


def test_largest_recent_difference_is_added():
    assert correct(make_note(3 * MIB), make_note(8 * MIB), make_note(MIB)) == 8 * MIB


def test_difference_of_another_size_is_scaled_with_its_root():
    note = make_note(8 * MIB, moving_bytes=RAW.moving_bytes // 4)
    assert correct(note) == pytest.approx(16 * MIB, rel=1e-3)


def test_plan_is_lowered_only_when_several_runs_agree():
    notes = [make_note(-8 * MIB)] * ENOUGH
    assert correct(*notes[:-1]) == 0
    assert correct(*notes) == -8 * MIB


@pytest.mark.parametrize(
    "change", [{"method": "lora"}, {"kind": "cuda"}, {"returns_memory": False}]
)
def test_other_runs_do_not_count(change):
    assert correct(make_note(8 * MIB, **change)) == 0


def test_probe_counts_where_no_run_was_measured():
    notes = RunNotes(probed_bytes={"cpu": 7 * MIB, "cuda": MIB})
    assert correct_memory(RAW, QLORA, notes).corrected_bytes == 7 * MIB
    both = notes.model_copy(update={"runs": (make_note(3 * MIB),)})
    assert correct_memory(RAW, QLORA, both).corrected_bytes == 3 * MIB


def test_speed_is_multiplied_by_the_median():
    notes = RunNotes(runs=(make_note(ratio=0.5), make_note(ratio=0.8), make_note(ratio=0.9)))
    speed = correct_speed(100.0, QLORA, notes)
    assert speed.tokens_per_second == pytest.approx(80)
    assert speed.low == pytest.approx(50)
    assert speed.high == pytest.approx(90)


def test_speed_that_no_run_confirmed_has_the_wide_range():
    speed = correct_speed(100.0, QLORA, None)
    assert (speed.low, speed.high) == (100 * SPEED_RANGE[0], 100 * SPEED_RANGE[1])


def test_notes_survive_and_are_private(tmp_path):
    path = tmp_path / "cache" / "runs.json"
    plan = make_plan(make_hardware(), BaseChoice(spec=SPEC), make_dataset(), TuneRecipe())
    for _ in range(MAX_NOTES + 2):
        record_run(path, plan, make_tuned(plan, MIB, cached_bytes=5 * MIB))
    record_probe(path, "cpu", 9 * MIB)
    notes = load_notes(path)
    assert len(notes.runs) == MAX_NOTES
    assert notes.runs[-1].measured_bytes - notes.runs[-1].planned_bytes == MIB
    assert notes.probed_bytes == {"cpu": 9 * MIB}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_recorded_run_moves_the_next_plan_to_what_was_measured(tmp_path):
    path, choice = tmp_path / "runs.json", BaseChoice(spec=SPEC)
    first = make_plan(make_hardware(), choice, make_dataset(), TuneRecipe())
    record_run(path, first, make_tuned(first, 30 * MIB))
    terms = PlanTerms(notes=load_notes(path))
    second = make_plan(make_hardware(), choice, make_dataset(), TuneRecipe(), terms)
    assert second.memory.total_bytes == pytest.approx(first.memory.total_bytes + 30 * MIB, abs=2)
    assert second.speed.tokens_per_second == pytest.approx(500)


def test_missing_and_torn_notes_are_none(tmp_path):
    assert load_notes(tmp_path / "nothing.json") == RunNotes()
    torn = tmp_path / "torn.json"
    keep_notes(torn, RunNotes(runs=(make_note(),)))
    torn.write_text(torn.read_text()[:-9])
    assert load_notes(torn) == RunNotes()


def make_tuned(plan, extra_bytes: int, cached_bytes: int = 0) -> TunedModel:
    """A run that took more than planned, and kept hidden states beside."""
    planned = plan.memory.total_bytes + cached_bytes
    return TunedModel(
        folder="tune/weights",
        method="qlora",
        lr=1e-3,
        trials=(),
        step=1,
        num_steps=1,
        num_tokens=1,
        num_labels=1,
        start_loss=5.0,
        held_out_loss=4.0,
        peak_memory_bytes=planned + extra_bytes,
        planned_memory_bytes=planned,
        tokens_per_second=500.0,
        seconds=1.0,
    )
