"""`appliance report`. Oracle: its schema, the machine itself, and rules that a page must keep."""

import json
import stat
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from appliance.bases.known import list_known
from appliance.cli.report import report
from appliance.cli.report_data import SCHEMA_VERSION, Report, ReportBase
from appliance.cli.report_html import choose_limits, render_page
from appliance.cli.report_words import format_hours, format_size, write_headline
from appliance.errors import BaseModelError, ResourceError, UsageError
from appliance.values import CapacityRow, Finding, Gpu, GpuProcess
from tests.bases.model_folder import write_model
from tests.conftest import ROOT
from tests.planning.machines import make_hardware

GIB = 2**30
METHODS = ["qlora", "adapter", "lora", "full"]


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def run(tmp_path, *arguments):
    result = CliRunner().invoke(
        report, ["--runs", str(tmp_path), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result


def run_json(tmp_path, *arguments):
    return Report.model_validate_json(run(tmp_path, "--json", *arguments).stdout)


def test_json_keeps_its_schema(tmp_path):
    """Every field is known, none is missing, and the version is that of the documentation."""
    body = json.loads(run(tmp_path, "--json").stdout)

    assert body["schema_version"] == SCHEMA_VERSION == 2
    assert list(body) == [
        "schema_version",
        "made_at",
        "appliance_version",
        "host",
        "what_if",
        "headline",
        "machine",
        "rates",
        "findings",
        "bases",
        "broken_bases",
        "capacity",
    ]
    assert Report.model_validate(body).model_dump(mode="json") == body
    assert {"gpus", "cpu", "memory_bytes", "disk_free_bytes", "software"} <= body["machine"].keys()
    assert all(finding.keys() == {"what", "fix", "level"} for finding in body["findings"])


def test_every_base_has_a_row_for_every_method(tmp_path):
    found = run_json(tmp_path)

    rows = [(row.base, row.method) for row in found.capacity]
    assert rows == [(base.name, method) for base in found.bases for method in METHODS]
    assert found.bases[0].name == "embedded" and found.bases[0].is_present
    assert {base.name for base in found.bases[1:]} == {base.name for base in list_known()}


def test_known_base_that_is_present_is_told_once(tmp_path):
    write_model(tmp_path / "home" / "bases" / "Qwen3-0.6B")

    names = [base.name for base in run_json(tmp_path).bases]

    assert "Qwen3-0.6B" in names and "Qwen/Qwen3-0.6B" not in names


def test_text_has_a_label_a_row_and_names_bases_that_are_left_out(tmp_path):
    (write_model(tmp_path / "home" / "bases" / "bad") / "tokenizer.json").unlink()

    text = run(tmp_path).stdout

    labels = [line[:11].strip() for line in text.splitlines() if line[:1].strip()]
    assert {"In short", "GPU", "CPU", "Memory", "Disk", "Software", "Bases", "Left out"} <= set(
        labels
    )
    assert "bad" in text
    assert "● embedded" in text
    assert "\x1b[" not in text  # no colour in a pipe


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "qwen3-8b"])
def test_one_base_is_told_with_every_method_and_reason(tmp_path, name):
    text = run(tmp_path, "--base", name, "--ram", "8", "--disk", "100").stdout

    assert "Qwen/Qwen3-8B · 8.2 B parameters" in text
    assert "In short" not in text
    for method in METHODS:
        assert f"\n{method:<11}no: needs " in text


def test_present_base_is_told_rather_than_the_known_one_of_its_name(tmp_path):
    write_model(tmp_path / "home" / "bases" / "Qwen3-8B")

    (base,) = run_json(tmp_path, "--base", "Qwen3-8B").bases

    assert base.is_present
    assert base.num_parameters < 1e9


def test_base_that_nobody_knows_is_refused(tmp_path):
    result = CliRunner().invoke(report, ["--runs", str(tmp_path), "--base", "no-such-base"])

    assert isinstance(result.exception, BaseModelError)


def test_card_that_is_imagined_changes_what_is_told(tmp_path):
    found = run_json(tmp_path, "--what-if", "rtx4090", "--ram", "256", "--disk", "4000")

    assert found.what_if == "RTX 4090, 256 GiB of memory, 4000 GiB of disk"
    assert found.headline.startswith("Such a machine could")
    assert found.machine.memory_total_bytes == 256 * GIB
    assert found.machine.disk_free_bytes == 4000 * GIB
    rows = {(row.base, row.method): row for row in found.capacity}
    assert rows["Qwen/Qwen3-8B", "qlora"].fits
    assert not rows["Qwen/Qwen3-8B", "full"].fits


def test_unknown_card_is_refused_with_the_nearest(tmp_path):
    result = CliRunner().invoke(report, ["--runs", str(tmp_path), "--what-if", "RTX 409"])

    assert isinstance(result.exception, UsageError)
    assert result.exception.fix == '--what-if "RTX 4090"'


@pytest.mark.slow
def test_measured_speeds_are_told_and_remembered(tmp_path, monkeypatch):
    from appliance.hardware import rates

    monkeypatch.setattr(rates, "COMPUTE_SECONDS", 0.1)

    first = run_json(tmp_path, "--measure")
    second = run_json(tmp_path)

    assert first.rates is not None
    assert second.rates == first.rates
    assert "GFLOP/s in float32" in run(tmp_path).stdout


def test_kept_speeds_are_told(tmp_path):
    from appliance.hardware import rates
    from tests.hardware.test_rates import MEASURED

    rates.locate_rates().parent.mkdir(parents=True)
    rates.locate_rates().write_text(json.dumps(MEASURED.model_dump() | {"format": 1}))

    text = run(tmp_path).stdout

    assert "70 GFLOP/s in float32, 9 in bfloat16, memory 20 GB/s (measured 1970-01-01)" in text
    assert "takes 191 MiB/s" in text


def test_measurement_that_fails_is_an_error(tmp_path, monkeypatch):
    from appliance.hardware import rates

    monkeypatch.setattr(rates, "LIMIT_SECONDS", 0.1)

    result = CliRunner().invoke(report, ["--runs", str(tmp_path), "--measure"])

    assert isinstance(result.exception, ResourceError)


def test_report_never_imports_torch(tmp_path):
    command = ["-X", "importtime", "-m", "appliance", "report", "--runs", str(tmp_path)]
    page = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, *command, "--html", str(page)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "onnxruntime", "peft", "bitsandbytes"}
    assert page.is_file()


class Page(HTMLParser):
    """Tags, text and addresses of a page; a tag that is not closed is an error."""

    EMPTY = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def make_row(base="b", method="qlora", *, fits=True, hours=1.0, speed=50.0, size=int(1e9)):
    return CapacityRow(
        base=base,
        num_parameters=size,
        method=method,
        fits=fits,
        longest_sequence=2048 if fits else 0,
        tokens_per_second=1e6 / 3600 / hours if fits else 0.0,
        hours_per_million_tokens=hours if fits else 0.0,
        memory_bytes=GIB,
        serve_tokens_per_second=speed,
        serve_memory_bytes=GIB,
        reason="" if fits else "needs more",
    )


def make_base(name="b", **changes):
    fields = {
        "num_parameters": int(1e9),
        "context": 4096,
        "licence": "mit",
        "commercial": "yes",
        "is_present": False,
        "exportable": True,
    }
    return ReportBase(name=name, **(fields | changes))


def make_report(**changes):
    fields = {
        "made_at": 0.0,
        "appliance_version": "1",
        "host": "box",
        "what_if": "",
        "headline": "It can.",
        "machine": make_hardware(),
        "rates": None,
        "findings": (),
        "bases": (make_base(),),
        "broken_bases": (),
        "capacity": tuple(make_row(method=method) for method in METHODS),
    }
    return Report(**(fields | changes))


def test_page_is_one_file_that_fetches_nothing(tmp_path):
    path = tmp_path / "page.html"
    run(tmp_path, "--html", str(path))

    text = path.read_text()
    page = Page(text)
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert "url(" not in text and "@import" not in text and "://" not in text
    assert "default-src 'none'" in text
    assert stat.S_ISREG(path.stat().st_mode)


def test_page_in_a_folder_that_is_not_there_is_refused_at_once(tmp_path):
    path = tmp_path / "not" / "there.html"

    result = CliRunner().invoke(report, ["--runs", str(tmp_path), "--html", str(path)])

    assert isinstance(result.exception, UsageError)
    assert str(path.parent) in result.exception.why


def test_page_serves_dark_screens_phones_and_paper(tmp_path):
    text = render_page(make_report())

    assert "prefers-color-scheme: dark" in text
    assert "max-width: 560px" in text and "width=device-width" in text
    assert "@media print" in text


def test_text_from_the_machine_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    gpu = Gpu(
        name=evil,
        total_bytes=GIB,
        free_bytes=GIB,
        capability="9.0",
        supports_bf16=True,
        usable=False,
        why_not=evil,
        processes=(GpuProcess(pid=1, name='"><img src=x>', used_bytes=1),),
    )
    text = render_page(
        make_report(
            host=evil,
            headline=evil,
            machine=make_hardware(gpus=(gpu,)),
            findings=(Finding(what=evil, fix='" onload="x'),),
            bases=(make_base(evil, why_not=evil, exportable=False), make_base('"><b>')),
            capacity=tuple(
                make_row(name, method) for name in (evil, '"><b>') for method in METHODS
            ),
        )
    )

    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags
    assert "".join(page.words).count(evil) >= 5


@pytest.mark.parametrize(
    "changes",
    [
        {"bases": (), "capacity": ()},
        {"capacity": tuple(make_row(method=method, fits=False) for method in METHODS)},
        {"capacity": tuple(make_row(method=method, speed=0) for method in METHODS)},
        {"what_if": "RTX 4090"},
    ],
)
def test_page_of_a_machine_that_can_do_little_is_whole(changes):
    assert Page(render_page(make_report(**changes))).tags.count("h1") == 1


def test_page_says_why_a_base_does_not_fit():
    rows = tuple(make_row(method=method, fits=False) for method in METHODS)

    assert "needs more" in "".join(Page(render_page(make_report(capacity=rows))).words)


def test_headline_names_the_largest_base_in_a_night_and_the_largest_that_answers():
    bases = [make_base("small"), make_base("large"), make_base("huge")]
    rows = [
        make_row("small", hours=1, speed=90, size=int(1e9)),
        make_row("large", hours=12, speed=9, size=int(8e9)),
        make_row("huge", hours=13, speed=5, size=int(14e9)),
    ]

    assert write_headline(bases, rows, is_imagined=False) == (
        "This machine can tune models of up to 8 B parameters overnight and serve models of up to "
        "14 B faster than people read."
    )


@pytest.mark.parametrize("changes", [{"exportable": False}, {"commercial": "no"}])
def test_headline_leaves_out_what_may_not_or_cannot_be_used(changes):
    bases = [make_base("small"), make_base("large", **changes)]
    rows = [make_row("small", size=int(1e9)), make_row("large", size=int(8e9))]

    assert "1 B parameters overnight" in write_headline(bases, rows, is_imagined=False)


def test_headline_of_a_machine_that_can_do_nothing():
    rows = [make_row(fits=False, speed=0.4)]

    assert write_headline([make_base()], rows, is_imagined=False).startswith(
        "This machine can neither tune nor serve"
    )


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (1e-5, "1 s"),
        (0.005, "18 s"),
        (0.5, "30 min"),
        (2.14, "2.1 h"),
        (41.2, "41 h"),
        (216, "9 days"),
    ],
)
def test_hours_are_written_for_people(hours, text):
    assert format_hours(hours) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(7e6, "7 M"), (135e6, "135 M"), (0.6e9, "0.6 B"), (8e9, "8 B"), (72.7e9, "73 B")],
)
def test_sizes_are_written_for_people(number, text):
    assert format_size(int(number)) == text


@pytest.mark.parametrize(
    ("hours", "limits"),
    [
        ([], ()),
        ([1.0], (1.0,)),
        ([0.5, 160.0], (2.0, 4.0, 12.0, 48.0)),
        ([1 / 3600, 0.8], (5 / 3600, 30 / 3600, 2 / 60, 10 / 60)),
    ],
)
def test_shades_are_spread_from_the_fastest_to_the_slowest(hours, limits):
    """Oracle: equal ratios by hand: 0.5 h to 160 h is a factor of 3.2 a shade."""
    assert choose_limits(hours) == pytest.approx(limits)


def test_help_shows_an_example():
    assert "appliance report --json" in CliRunner().invoke(report, ["--help"]).output
