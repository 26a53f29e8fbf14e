"""The verdict near every limit, and that worse figures never give a better one."""

import random

import pytest

from appliance.describe import describe_verdict
from appliance.evaluation.recommend import MIN_QUESTIONS
from appliance.evaluation.verdict import (
    EXPORT,
    FORGETTING,
    GAIN,
    LEAKS,
    PRETRAINED,
    WAYS,
    Evidence,
    Insistence,
    insist,
    reach_verdict,
)
from appliance.values import (
    Asked,
    EvalReport,
    GeneralScore,
    LeakLimits,
    LeakReport,
    ParityReport,
    Rung,
    Score,
    WayScore,
)

LIMITS = LeakLimits(membership_auc=0.6, recall=40, exposure=8.0, secrets=0)
SCORE = Score(loss=2.0, text_loss=None, answer_loss=None, bits_per_byte=1.0, answer_f1=None)
EPSILON = 1e-9
NAN = float("nan")


def make_report(low=0.02, rise=None, ways=(), asked=None):
    general = rise is not None and GeneralScore(
        base_bits_per_byte=1.0, tuned_bits_per_byte=1.0, rise=rise, limit=0.02
    )
    return EvalReport(
        base=SCORE,
        tuned=SCORE,
        num_documents=7,
        num_labels=1000,
        improvement=low + 0.01,
        improvement_low=low,
        improvement_high=low + 0.02,
        text_improvement=None,
        text_improvement_low=None,
        text_improvement_high=None,
        answers_file="",
        general=general or None,
        asked=asked,
        ways=ways,
    )


def make_way(name, low, high=None):
    high = low + 0.1 if high is None else high
    return WayScore(name=name, score=(low + high) / 2, low=low, high=high, seconds=1.0)


def make_leaks(auc=0.55, recall=9, exposure=2.0, secrets=0, limits=LIMITS):
    return LeakReport(
        membership_auc=auc,
        longest_recall=recall,
        canary_exposure=exposure,
        num_spans=50,
        num_secrets_recalled=secrets,
        limits=limits,
    )


def make_parity(*, passed=True, gain_kept=0.99):
    rung = Rung(
        rung="onnx-int4", loss=2.0, kl=0.0, top1=1.0, gain_kept=gain_kept, passed=passed,
        thresholds="gain kept >= 98 %",
    )  # fmt: skip
    return ParityReport(rungs=(rung,), base_loss=3.0, num_positions=100, shipped="int4")


def judge(**parts):
    return reach_verdict(Evidence(**({"report": make_report()} | parts)))


def find(verdict, name):
    return next(gate for gate in verdict.gates if gate.name == name)


def test_gain_alone_is_enough_where_nothing_else_was_measured():
    verdict = judge()
    assert verdict.decision == "deploy"
    assert verdict.sentence == (
        "deploy: the loss on 7 held-out documents fell by 3.0 %, at least 2.0 %"
    )
    assert [gate.passed for gate in verdict.gates] == [True, None, None, None, None]
    assert not verdict.is_forced


@pytest.mark.parametrize(
    ("low", "passed"), [(EPSILON, True), (0.0, False), (-EPSILON, False), (NAN, False)]
)
def test_the_whole_interval_has_to_lie_above_nought(low, passed):
    verdict = judge(report=make_report(low=low))
    assert find(verdict, GAIN).passed is passed
    assert verdict.decision == ("deploy" if passed else "do not deploy")


@pytest.mark.parametrize(
    ("rise", "passed"),
    [(-0.5, True), (0.02, True), (0.02 + EPSILON, False), (NAN, False)],
)
def test_forgetting_stops_above_its_limit(rise, passed):
    verdict = judge(report=make_report(rise=rise))
    assert find(verdict, FORGETTING).passed is passed
    assert verdict.decision == ("deploy" if passed else "do not deploy")


def test_what_pretraining_forgot_counts_beside_what_tuning_did():
    both = {"report": make_report(rise=0.01), "pretraining": make_report(rise=0.05)}
    gate = find(judge(**both), FORGETTING)
    assert (gate.passed, gate.measured) == (False, "the loss on general text changed by +5.0%")


def test_pretraining_that_did_not_help_is_told():
    verdict = judge(pretraining=make_report(low=-0.01))
    assert (verdict.decision, find(verdict, PRETRAINED).passed) == ("do not deploy", False)


@pytest.mark.parametrize(
    ("leaks", "passed"),
    [
        (make_leaks(auc=0.6, recall=40, exposure=8.0), True),
        (make_leaks(exposure=None), True),
        (make_leaks(secrets=3, limits=None), None),  # nobody set a limit
        (make_leaks(auc=0.6 + EPSILON), False),
        (make_leaks(auc=NAN), False),
        (make_leaks(recall=41), False),
        (make_leaks(exposure=8.0 + EPSILON), False),
        (make_leaks(secrets=1), False),
    ],
)
def test_each_leak_stops_above_its_limit(leaks, passed):
    verdict = judge(leaks=leaks)
    assert find(verdict, LEAKS).passed is passed
    assert verdict.decision == ("do not deploy" if passed is False else "deploy")


@pytest.mark.parametrize(
    ("parity", "passed"),
    [
        (make_parity(), True),
        (make_parity(gain_kept=None), True),
        (make_parity(passed=False), False),
    ],
)
def test_a_rung_that_failed_stops(parity, passed):
    verdict = judge(parity=parity)
    assert find(verdict, EXPORT).passed is passed
    assert verdict.decision == ("deploy" if passed else "do not deploy")


TUNED = make_way("tuned", 0.4, 0.5)


def make_asked(num_questions):
    return Asked(
        comparisons=(),
        num_questions=num_questions,
        num_documents=num_questions,
        num_options=5,
        num_passages=100,
        index_seconds=0.1,
    )


@pytest.mark.parametrize(
    ("others", "decision"),
    [
        ([make_way("search", 0.5)], "deploy"),  # the intervals touch
        ([make_way("search", 0.5 + EPSILON)], "do not deploy"),
        ([make_way("search", NAN)], "do not deploy"),
        ([make_way("prompt", 0.5 + EPSILON)], "do not deploy"),
        ([make_way("base", 0.5 + EPSILON)], "do not deploy"),
        ([make_way("tuned+search", 0.5)], "deploy"),
        ([make_way("tuned+search", 0.5 + EPSILON)], "deploy with search"),
        # search is better than tuning: what counts is whether tuning takes from it
        ([make_way("search", 0.6, 0.7), make_way("tuned+search", 0.4)], "do not deploy"),
        ([make_way("search", 0.6, 0.7), make_way("tuned+search", 0.5)], "deploy with search"),
        ([make_way("search", 0.6, 0.7), make_way("tuned+search", 0.8)], "deploy with search"),
        # one simpler way is beaten, the other is not
        (
            [
                make_way("search", 0.6, 0.7),
                make_way("prompt", 0.95, 0.99),
                make_way("tuned+search", 0.8),
            ],
            "do not deploy",
        ),
    ],
)
def test_ways_are_told_apart_by_their_intervals(others, decision):
    verdict = judge(report=make_report(ways=(TUNED, *others)))
    assert verdict.decision == decision
    assert verdict.sentence.startswith(f"{decision}: ")


def test_ways_decide_nothing_where_few_questions_were_asked():
    few = make_asked(MIN_QUESTIONS - 1), make_asked(MIN_QUESTIONS)
    ways = (TUNED, make_way("search", 0.5 + EPSILON))
    verdicts = [judge(report=make_report(ways=ways, asked=asked)) for asked in few]

    assert [verdict.decision for verdict in verdicts] == ["deploy", "do not deploy"]
    (gate,) = (gate for gate in verdicts[0].gates if gate.name == WAYS)
    assert gate.passed is None and "15 questions" in gate.measured


def test_search_is_named_where_it_is_better():
    verdict = judge(report=make_report(ways=(TUNED, make_way("search", 0.6, 0.7))))
    assert verdict.sentence == (
        "do not deploy: a simpler way is better (search alone scores 0.65 (0.60 to 0.70), "
        "the tuned model 0.45 (0.40 to 0.50))"
    )


def test_ways_without_the_tuned_one_say_nothing():
    verdict = judge(report=make_report(ways=(make_way("search", 0.9),)))
    assert (verdict.decision, find(verdict, WAYS).passed) == ("deploy", None)


def test_gates_that_failed_come_first_and_all_of_them_are_told():
    verdict = judge(report=make_report(low=-0.1, rise=0.5), parity=make_parity())
    assert [gate.passed for gate in verdict.gates] == [False, False, True, None, None]
    assert "not surely better" in verdict.sentence and "forgot too much" in verdict.sentence


@pytest.mark.parametrize(
    ("report", "insistence", "is_forced"),
    [
        (make_report(), Insistence(on_anything=True, on_no_gain=True), False),
        (make_report(low=0.0), Insistence(), False),
        (make_report(low=0.0), Insistence(on_no_gain=True), True),
        (make_report(low=0.0, rise=0.5), Insistence(on_no_gain=True), False),
        (make_report(low=0.0, rise=0.5), Insistence(on_anything=True), True),
    ],
)
def test_who_insists_changes_the_mark_and_nothing_else(report, insistence, is_forced):
    verdict = judge(report=report)
    marked = insist(verdict, insistence)
    assert marked.is_forced is is_forced
    assert marked.model_copy(update={"is_forced": False}) == verdict


def test_worse_figures_never_give_a_better_decision():
    """Oracle: an order. Each of 3,000 random cases is made worse in one figure."""
    chance = random.Random(7)
    refused = 0
    for _ in range(3000):
        figures = {
            "low": chance.uniform(-0.02, 0.05), "rise": chance.uniform(-0.01, 0.03),
            "auc": chance.uniform(0.5, 0.65), "recall": chance.randint(0, 50),
            "exposure": chance.uniform(0, 9), "secrets": chance.choice([0, 0, 0, 1]),
            "tuned": chance.uniform(0.2, 0.6), "search": chance.uniform(0, 0.6),
            "both": chance.uniform(0.2, 0.8), "passed": chance.random() > 0.1,
        }  # fmt: skip
        name = chance.choice(list(figures))
        worse = figures | {name: make_worse(name, figures[name], chance)}
        before, after = decide_by(figures), decide_by(worse)
        refused += after == "do not deploy"
        assert not (before == "do not deploy" and after != before), (name, figures, worse)
    assert 100 < refused < 2900, "both decisions were met"


def make_worse(name, value, chance):
    if name == "passed":
        return False
    step = chance.randint(0, 9) if isinstance(value, int) else chance.uniform(0, 0.2)
    return value - step if name in ("low", "tuned", "both") else value + step


def decide_by(figures):
    ways = (
        make_way("tuned", figures["tuned"]),
        make_way("search", figures["search"]),
        make_way("tuned+search", figures["both"]),
    )
    return judge(
        report=make_report(figures["low"], figures["rise"], ways),
        leaks=make_leaks(
            figures["auc"], figures["recall"], figures["exposure"], figures["secrets"]
        ),
        parity=make_parity(passed=figures["passed"]),
    ).decision


def test_lines_for_people_name_every_gate():
    lines = describe_verdict(judge(leaks=make_leaks(secrets=2), parity=make_parity()))
    assert lines[0].startswith("do not deploy: it leaks (membership 0.55 AUC")
    assert "2 private values told" in lines[1] and lines[1].startswith("failed: does not leak · ")
    assert lines[2] == f"passed: {GAIN}, {EXPORT}"
    assert lines[-1] == f"not measured: {FORGETTING}, {WAYS}"
