"""The page of a run. Oracle: the values it was made of, and rules that a page must keep."""

import re
from html import unescape

import pytest

from appliance.events import Failed
from appliance.reports.charts import choose_ticks
from appliance.reports.figures import list_figures, write_figure
from appliance.reports.markdown import write_markdown
from appliance.reports.origin_pages import ELSEWHERE
from appliance.reports.page import render_run, show_text
from appliance.reports.read import MAX_FILES, publish, read_run
from appliance.reports.write import write_private
from appliance.values import Verdict
from tests.cli.test_report import Page
from tests.reports.made_run import LEAKS, VERDICT, WORDS, make_run

SENTENCES = ("decisions", "rejected")
"""Parts of a plan that hold no figures: the page tells them in tables of their own."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    extra = {"leaks": LEAKS, "verdict": VERDICT}
    return make_run(tmp_path_factory.mktemp("runs") / "run", ending="finished", extra=extra)


@pytest.fixture(scope="module")
def page(finished):
    return render_run(read_run(finished))


def list_cells(text):
    """Cells of all tables, as a reader sees them."""
    return [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", text, re.DOTALL)]


def test_every_figure_of_every_value_stands_on_the_page_and_in_the_json(finished, page):
    """Oracle: the values as JSON, walked leaf by leaf."""
    report = read_run(finished)
    body = report.model_dump(mode="json")
    cells = set(list_cells(page))
    for stage in report.stages:
        figures = {key: part for key, part in stage.value.items() if key not in SENTENCES}
        for key, text in list_figures(figures):
            assert key in cells and text in cells, (stage.name, key, text)
    told = {stage.name: stage.value for stage in report.stages}
    for key, value in body["result"].items():
        if key in ELSEWHERE:
            stage, path = ELSEWHERE[key]
            assert value == (told[stage][path]["rungs"] if path else told.get(stage)), key
        elif isinstance(value, int | float):
            assert write_figure(value) in cells, key


def test_page_is_one_file_that_fetches_nothing(page):
    parsed = Page(page)

    assert parsed.addresses == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(parsed.tags)
    assert "url(" not in page and "@import" not in page and "://" not in page
    assert "default-src 'none'" in page
    assert parsed.tags.count("h1") == 1


def test_page_serves_dark_screens_phones_and_paper(page):
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 560px" in page and "width=device-width" in page
    assert "@media print" in page and "table-header-group" in page


def test_first_page_tells_verdict_interval_ways_leaks_and_what_is_next(page):
    words = " ".join(" ".join(Page(page).words).split())

    assert "Deploy with search: better on 78 of 96 questions." in words
    assert "−38.0 % 95 % interval −31.4 % to −46.7 %" in words
    assert "the tuned model with search 0.57 (0.50 to 0.65)" in words
    assert "✗ does not leaks nothing 2 values" in words
    assert "packed this model against the verdict" in words
    assert "appliance chat" in words


def test_names_of_files_cannot_become_markup_or_turn_the_text(page):
    assert "<script" not in page
    assert "\u202e" not in page and "\x07" not in page
    shown = next(cell for cell in list_cells(page) if "alert(1)" in cell)
    assert shown == "<script>alert(1)</script>/\\u202egnp.exe\\u0007\\u000a|`x`.md"


@pytest.mark.parametrize("letter", ["\u202e", "\u2066", "\x1b", "\u200b", "\udc80", "\u2028"])
def test_letters_that_are_not_seen_are_spelt_out(letter):
    assert show_text(f"a{letter}b") == f"a\\u{ord(letter):04x}b"


def test_letters_of_any_language_stay():
    assert show_text("Übersicht 概要 обзор.md") == "Übersicht 概要 обзор.md"


def test_page_of_ten_thousand_files_stays_small_and_the_rest_is_in_the_json(tmp_path):
    run = make_run(tmp_path / "run", num_files=10_000, ending="finished")

    page = render_run(read_run(run))
    everything = read_run(run, None)

    assert len(page.encode()) < 1_000_000
    assert page.count(WORDS) <= MAX_FILES + 2
    assert f"{10_000 - MAX_FILES:,} more are in corpus/ledger.jsonl" in page
    assert len(everything.documents.files) == 10_000


def test_page_of_a_bundle_names_no_file(finished):
    page = render_run(publish(read_run(finished)))

    assert WORDS not in page and "alert(1)" not in page and str(finished) not in page
    assert "it is sound" in page  # reasons are told
    assert "This page names no file" in page


@pytest.mark.parametrize("until", ["corpus", "dataset", "plan", "tune", "evaluate", "parity"])
def test_page_of_a_run_under_way_is_whole(tmp_path, until):
    page = render_run(read_run(make_run(tmp_path / "run", until=until)))

    assert Page(page).tags.count("h1") == 1
    assert "not finished" in page


def test_refused_run_gets_its_page_with_the_reason(tmp_path):
    refused = Failed(error="GateError", what="it is not better", why="5.2 → 5.3", fix="more <text>")
    run = make_run(tmp_path / "run", until="evaluate", ending=refused)

    words = "".join(Page(write_private(run).read_text()).words)

    assert "It is not better." in words
    assert "5.2 → 5.3" in words and "more <text>" in words
    assert "refused by a gate" in words


def test_what_was_not_measured_is_said(tmp_path):
    run = make_run(tmp_path / "run", until="tune")

    words = "".join(Page(render_run(read_run(run))).words)

    assert words.count("not known") == 4
    assert "Not measured: nobody compared it with search." in words


def test_markdown_escapes_and_links_to_the_model_card(finished):
    report = read_run(finished)
    sentence = "deploy | <b>now</b> `x`\n# really"
    verdict = Verdict(decision="deploy", sentence=sentence, gates=())

    text = write_markdown(report.model_copy(update={"verdict": verdict}))

    assert text.startswith("# Deploy \\| \\<b\\>now\\</b\\> \\`x\\`\\\\u000a\\# really.\n")
    assert "| the tuned model with search | 0.57 | 0.50 to 0.65 | 1.5 s |" in text
    assert "[model card](bundle/MODEL_CARD.md)" in text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 600, [0, 200, 400, 600]),
        (3.01, 5.29, [3.5, 4, 4.5, 5]),
        (0, 0.009, [0, 0.002, 0.004, 0.006, 0.008]),
        (2, 2, [2]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    """Oracle: multiples of 1, 2 or 5 times a power of ten, by hand."""
    assert choose_ticks(low, high) == pytest.approx(ticks)
