"""Search over passages; oracle: documents written for it, of which each question names one."""

from __future__ import annotations

import sqlite3

import pytest

from appliance.errors import BundleError
from appliance.search.cut import cut_documents
from appliance.search.index import Index, build_index
from appliance.values import Document, Turn

DOCUMENTS = [
    Document(
        number=0,
        source="returns.md",
        title="Returns",
        text="# Returns\n\n## Sensors\n\nA sensor may be returned within thirty days.\n\n"
        "## Valves\n\nValves are made to order and are not taken back.\n",
    ),
    Document(
        number=1,
        source="travel/hotels.md",
        title="Travel",
        text="# Travel\n\nHotels are booked by the café desk, never by the traveller.\n",
    ),
    Document(
        number=2,
        source="tickets.csv",
        title="Tickets",
        text="",
        conversations=(
            (
                Turn(role="user", content="The pump hums and stops."),
                Turn(role="assistant", content="Replace the capacitor."),
            ),
        ),
    ),
]


@pytest.fixture
def index(tmp_path):
    assert build_index(tmp_path / "search.db", cut_documents(DOCUMENTS)) >= 3
    index = Index(tmp_path / "search.db")
    yield index
    index.close()


@pytest.mark.parametrize(
    ("question", "source", "word"),
    [
        ("How do I return a sensor?", "returns.md", "thirty"),
        ("who books my hotel at the cafe", "travel/hotels.md", "desk"),
        ("pump stopped", "tickets.csv", "capacitor"),
    ],
)
def test_question_finds_its_passage(index, question, source, word):
    best = index.find(question, 3)[0]
    assert best.source == source and word in best.text


@pytest.mark.parametrize(
    "question", ['" OR title:*', "NEAR(sensor", "sensor AND NOT", "'; DROP TABLE passages; --", "*"]
)
def test_question_is_no_command(index, question):
    for found in index.find(question, 5):
        assert found.text
    assert index.find("sensor", 1)


def test_unknown_words_find_nothing(index):
    assert index.find("xylophone", 3) == [] and index.find("?!", 3) == []


def test_headings_stand_with_their_passages(tmp_path):
    pieces = list(cut_documents(DOCUMENTS[:1], max_characters=60))
    of_valves = next(piece for piece in pieces if "made to order" in piece.text)
    assert of_valves.heading.endswith("Valves")
    assert all(len(piece.text) <= 60 for piece in pieces)
    whole = "".join(DOCUMENTS[0].text.split())
    assert "".join("".join(piece.text.split()) for piece in pieces) == whole


@pytest.mark.parametrize("damage", ["missing", "garbage", "other format"])
def test_bad_index_is_refused(tmp_path, damage):
    path = tmp_path / "search.db"
    if damage == "garbage":
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    elif damage == "other format":
        build_index(path, [])
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version = 99")
        database.commit()
        database.close()
    with pytest.raises(BundleError, match="search index"):
        Index(path)
