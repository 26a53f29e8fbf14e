"""Checks that the sample documents are complete, current and readable."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import docx
import pypdfium2
import pytest
from docx.opc.exceptions import PackageNotFoundError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ROOT / "samples" / "company_docs"
TEXT_ENDINGS = {".md", ".txt", ".html", ".csv", ".jsonl"}


def read_pdf(path: Path) -> list[str]:
    """Reads the text of each page, with the line ends turned into spaces."""
    with pypdfium2.PdfDocument(path) as pdf:
        return [" ".join(page.get_textpage().get_text_range().split()) for page in pdf]


def test_generated_files_are_current() -> None:
    script = ROOT / "scripts" / "make_samples"
    result = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_folder_has_many_files_of_bounded_size() -> None:
    files = [path for path in DOCUMENTS.rglob("*") if path.is_file()]
    assert 60 <= len(files) <= 80
    assert all(path.stat().st_size <= 60_000 for path in files)
    text = sum(path.stat().st_size for path in files if path.suffix in TEXT_ENDINGS)
    assert 150_000 <= text <= 220_000


@pytest.mark.parametrize(
    ("name", "heading", "sentence", "cell"),
    [
        (
            "contracts/service_contract.docx",
            "4. Price and payment",
            "The price is EUR 420 for each measuring point and year",
            "Mill reservoir",
        ),
        (
            "handbook/onboarding.docx",
            "The sensor school",
            "The probation period is six months.",
            "To the returns centre in Varnhorst",
        ),
    ],
)
def test_docx_has_headings_lists_and_a_table(
    name: str, heading: str, sentence: str, cell: str
) -> None:
    document = docx.Document(str(DOCUMENTS / name))
    styles = {paragraph.style.name for paragraph in document.paragraphs if paragraph.style}
    assert {"Heading 1", "Heading 2", "List Bullet", "List Number"} <= styles
    assert heading in [paragraph.text for paragraph in document.paragraphs]
    assert sentence in " ".join(paragraph.text for paragraph in document.paragraphs)
    assert cell in [each.text for row in document.tables[0].rows for each in row.cells]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "products/installation_guide.pdf",
            "Sensor cable and extension cable together are at most 100 metres long.",
        ),
        (
            "products/maintenance_schedule.pdf",
            "Replace the sensor cap HI-6015 of the D60 every 24 months and type in its code.",
        ),
        (
            "policies/emergency_plan.pdf",
            "Evacuation drills take place every April and October.",
        ),
    ],
)
def test_pdf_has_several_pages_of_text(name: str, sentence: str) -> None:
    pages = read_pdf(DOCUMENTS / name)
    assert len(pages) >= 3
    assert sentence in " ".join(pages)
    assert all(page.endswith(f"Page {i} of {len(pages)}") for i, page in enumerate(pages, 1))


def test_tickets_are_conversations() -> None:
    lines = (DOCUMENTS / "support/tickets.jsonl").read_text(encoding="utf-8").splitlines()
    tickets = [json.loads(line) for line in lines]
    assert len(tickets) >= 100
    assert len({ticket["ticket"] for ticket in tickets}) == len(tickets)
    questions = {ticket["messages"][0]["content"] for ticket in tickets}
    assert len(questions) == len(tickets)
    for ticket in tickets:
        roles = [message["role"] for message in ticket["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all("{" not in message["content"] for message in ticket["messages"])


@pytest.mark.parametrize(
    ("name", "rows"),
    [("support/closed_tickets.csv", 70), ("prices/price_list.csv", 100), ("faq/faq.csv", 40)],
)
def test_tables_have_even_rows(name: str, rows: int) -> None:
    with (DOCUMENTS / name).open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    assert len(table) > rows
    assert {len(row) for row in table} == {len(table[0])}
    assert all(cell for row in table for cell in row)


def test_prices_agree_with_the_pages() -> None:
    with (DOCUMENTS / "prices/price_list.csv").open(encoding="utf-8", newline="") as file:
        prices = {row["part_number"]: float(row["price_eur"]) for row in csv.DictReader(file)}
    stock = (DOCUMENTS / "handbook/spare_parts_and_stock.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")] for line in stock.splitlines()]
    parts = {row[1]: row[5] for row in cells if len(row) == 7 and row[1].startswith("HI-")}
    assert len(parts) == 7
    assert parts == {number: f"EUR {prices[number]:.0f}" for number in parts}


def test_imperfections_are_there() -> None:
    copy = DOCUMENTS / "archive/calibration_intervals_copy.md"
    assert copy.read_bytes() == (DOCUMENTS / "handbook/calibration_intervals.md").read_bytes()
    assert (DOCUMENTS / "handbook/visitor_parking.md").stat().st_size == 0
    with pytest.raises(PackageNotFoundError):
        docx.Document(str(DOCUMENTS / "contracts/framework_agreement_2019.docx"))
    minutes = (DOCUMENTS / "minutes/2025-04-01_varnhorst_warehouse.txt").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        minutes.decode("utf-8")
    assert "Jürgen Möller" in minutes.decode("cp1252")
    assert "€ 64" in minutes.decode("cp1252")
    assert b"\x00" in (DOCUMENTS / "products/t20_bench_recording.dat").read_bytes()


def test_secrets_are_fake_and_well_formed() -> None:
    note = (DOCUMENTS / "archive/it_handover_2023.txt").read_text(encoding="utf-8")
    assert "AKIA" in note
    assert "password: " in note
    assert "@example.com" in note
    account = note.partition("IBAN ")[2].partition(".")[0].replace(" ", "")
    turned = account[4:] + account[:4]
    assert int("".join(str(int(character, 36)) for character in turned)) % 97 == 1
