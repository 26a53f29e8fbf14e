"""What is read of a run. Oracle: the values and events that the run was made of."""

import json

import pytest

from appliance.errors import BundleError, UsageError
from appliance.events import Failed, HeldOut, StageStarted, WentBack, encode_event
from appliance.recipe import DocumentsRecipe, PretrainRecipe, Recipe, TuneRecipe
from appliance.reports.curves import MAX_POINTS, draw_curves
from appliance.reports.origin import list_settings
from appliance.reports.read import publish, read_report, read_run
from appliance.reports.record import RunReport
from appliance.reports.write import write_public
from tests.reports.made_run import (
    LEAKS,
    PLAN,
    PROVEN,
    REPORT,
    SPEC,
    TUNED,
    VERDICT,
    WORDS,
    make_run,
    make_step,
)

REFUSED = Failed(error="GateError", what="it is not better", why="5.2 → 5.3", fix="more documents")


def test_finished_run_is_read_whole(tmp_path):
    report = read_run(make_run(tmp_path / "run", ending="finished"))

    assert report.state == "finished"
    values = (report.base, report.plan, report.tuned, report.evaluation, report.proven)
    assert values == (SPEC, PLAN, TUNED, REPORT, PROVEN)
    assert (report.leaks, report.verdict) == (LEAKS, VERDICT)  # the result tells them
    assert [stage.name for stage in report.stages][-1] == "bundle"
    assert RunReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("error", "state"),
    [("GateError", "refused"), ("TrainingError", "failed"), ("InterruptedRun", "stopped")],
)
def test_run_without_bundle_tells_why(tmp_path, error, state):
    failed = Failed(error=error, what="w", why="y", fix="f")

    report = read_run(make_run(tmp_path / "run", until="evaluate", ending=failed))

    assert report.state == state
    assert report.ending.fix == "f"
    assert report.bundle is None and report.proven is None
    assert report.evaluation == REPORT


def test_run_under_way_is_read_as_far_as_it_is(tmp_path):
    report = read_run(make_run(tmp_path / "run", until="dataset"))

    assert (report.state, report.ending, report.tuned) == ("unfinished", None, None)
    assert report.dataset is not None


def test_verdict_and_leaks_are_found_whichever_stage_made_them(tmp_path):
    extra = {"audit": LEAKS, "decide": VERDICT}

    report = read_run(make_run(tmp_path / "run", ending=REFUSED, until="decide", extra=extra))

    assert (report.leaks, report.verdict) == (LEAKS, VERDICT)


def test_receipts_of_an_earlier_attempt_are_not_told(tmp_path):
    """The documents changed; the second attempt was refused after its evaluation."""
    run = make_run(tmp_path / "run", ending="finished")
    second = ["corpus", "base", "dataset", "plan", "tune", "evaluate"]
    rows = [{"kind": "StageStarted", "at": 0, "stage": name} for name in second]
    rows += [
        {"kind": "StageFinished", "at": 0, "stage": name, "seconds": 1.0, "restored": False}
        for name in second
    ]
    rows.sort(key=lambda row: second.index(row["stage"]))
    with (run / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.write(encode_event(REFUSED) + "\n")

    report = read_run(run)

    assert report.state == "refused"
    assert [stage.name for stage in report.stages] == second
    assert report.bundle is None and report.proven is None


def test_torn_events_and_receipts_of_another_version_are_passed_over(tmp_path):
    run = make_run(tmp_path / "run", ending="finished")
    with (run / "events.jsonl").open("a") as file:
        file.write('{"kind": "StepDo')
    receipt = run / "receipts" / "plan.json"
    body = json.loads(receipt.read_text())
    del body["value"]["method"]
    receipt.write_text(json.dumps(body))
    (run / "receipts" / "tune.json").write_text("{")

    report = read_run(run)

    assert report.state == "finished"
    assert report.plan is None and report.tuned is None
    assert any(stage.name == "plan" for stage in report.stages)  # told figure by figure


def test_ledger_is_told_in_sum_and_by_file(tmp_path):
    run = make_run(tmp_path / "run", num_files=1000)

    few, every = read_run(run, 5).documents, read_run(run, None).documents

    assert few.num_by_verdict == {"used": 998, "skipped": 1, "duplicate": 1}
    assert [row.verdict for row in few.files] == ["skipped", "duplicate", "used", "used", "used"]
    assert few.files[2].num_secrets_masked == 3  # those to look at come first
    assert (len(few.files), few.num_files_left_out) == (5, 995)
    assert (len(every.files), every.num_files_left_out) == (1000, 0)
    assert {row.reason for row in few.reasons} == {
        "it is sound",
        "it says the same as another file",
    }
    assert few.boilerplate[0].num_files == 9


def test_tokens_are_told_by_split_and_reason(tmp_path):
    tokens = read_run(make_run(tmp_path / "run")).tokens

    train = tokens.splits[0]
    assert (train.num_tokens, train.num_used, train.num_dropped) == (110, 93, 17)
    assert tokens.reasons == {"longer than a pack": 17}


def test_public_form_names_no_file_folder_or_run(tmp_path):
    run = make_run(tmp_path / WORDS, ending="finished", extra={"decide": VERDICT})

    text = publish(read_run(run, None)).model_dump_json()

    assert WORDS not in text
    assert str(tmp_path) not in text and "/home/somebody" not in text
    assert "script" not in text
    assert publish(read_run(run)).verdict == VERDICT


def test_bundle_carries_the_public_form(tmp_path):
    run = make_run(tmp_path / WORDS, until="parity")
    bundle = tmp_path / "bundle"
    (bundle / "reports").mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")

    write_public(run, bundle)
    report = read_report(bundle)

    assert (report.form, report.state, report.evaluation.improvement) == (
        "public",
        "finished",
        REPORT.improvement,
    )
    assert WORDS not in (bundle / "reports" / "report.html").read_text()
    (bundle / "reports" / "report.json").write_text("{}")
    with pytest.raises(BundleError, match="cannot be read"):
        read_report(bundle)
    (bundle / "reports" / "report.json").unlink()
    with pytest.raises(BundleError, match="has no report"):
        read_report(bundle)


def test_what_is_neither_run_nor_bundle_is_refused(tmp_path):
    with pytest.raises(UsageError, match="neither a run nor a bundle"):
        read_report(tmp_path)


def test_curve_of_a_long_run_has_some_hundred_points():
    curves = draw_curves([StageStarted(stage="tune"), *map(make_step, range(1, 601))])

    assert len(curves.steps) <= MAX_POINTS
    assert curves.steps[-1].step == 600
    assert curves.steps[0].loss == pytest.approx((5 - 1 / 300 + 5 - 2 / 300) / 2)


def test_steps_that_a_later_attempt_did_again_count_once():
    def step(number, loss):
        return make_step(number).__class__(
            step=number, num_steps=4, loss=loss, lr=1.0, tokens_per_second=1.0, seconds_left=0.0
        )

    events = [
        StageStarted(stage="tune"),
        step(1, 9.0),
        step(2, 9.0),
        HeldOut(step=2, loss=9.0, is_best=True),
        step(3, 9.0),
        StageStarted(stage="tune"),
        step(2, 1.0),
        HeldOut(step=2, loss=1.0, is_best=True),
        WentBack(step=3, to_step=2, reason="r", rate_factor=0.5, times=1, times_at_most=3),
        step(3, 1.0),
    ]
    curves = draw_curves(events)

    assert [(row.step, row.loss) for row in curves.steps] == [(1, 9.0), (2, 1.0), (3, 1.0)]
    assert [row.loss for row in curves.held_out] == [1.0]
    assert curves.ways_back[0].to_step == 2


def test_every_key_of_the_recipe_has_its_origin_and_secrets_are_counted():
    recipe = Recipe(
        tune=TuneRecipe(rank=8, epochs=3),
        documents=DocumentsRecipe(mask_words=("Kraftwerk", "Nordhang")),
        pretrain=PretrainRecipe(replay="/srv/texts"),
    )

    settings = {row.key: row for row in list_settings(recipe, ("tune.rank",))}

    assert (settings["tune.rank"].value, settings["tune.rank"].origin) == ("8", "person")
    assert settings["tune.epochs"].origin == "recipe"
    assert settings["tune.seed"].origin == "default"
    assert settings["documents.mask_words"].value == "2 entries"
    assert settings["pretrain.replay"].value == "a folder"
    assert set(settings) == {
        f"{section}.{key}" for section, body in recipe.model_dump().items() for key in body
    }
