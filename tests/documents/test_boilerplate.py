from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.documents.boilerplate import MIN_FILES, EdgeCounter, strip_edges

from .conftest import ReadFolder

TOPICS = [
    "rain",
    "snow",
    "wind",
    "fog",
    "hail",
    "sun",
    "storm",
    "frost",
    "dew",
    "mist",
    "cloud",
    "ice",
]


def find_common(texts: list[str]) -> dict[int, int]:
    counter = EdgeCounter()
    for text in texts:
        counter.add(text)
    return counter.find_common()


def strip_all(texts: list[str]) -> list[str]:
    common = find_common(texts)
    return [strip_edges(text, common)[0] for text in texts]


def test_header_navigation_and_footer_go_from_the_edges():
    texts = [
        f"Acme intranet\n\n- Home\n- News\n- People\n\n# About {topic}\n\nInternal use only\n\n"
        f"What we know of {topic} is this.\n\nPage {n} of {n + 3}\n\nAcme Ltd, Quay 4, Bruckdal"
        for n, topic in enumerate(TOPICS)
    ]
    assert strip_all(texts) == [
        f"# About {topic}\n\nWhat we know of {topic} is this." for topic in TOPICS
    ]


@pytest.mark.parametrize(
    "template",
    [
        "# About {t}\n\nText on {t} only.\n\n## Contact\n\nAsk the front desk.",  # a whole section
        "# May I go out in {t}?\n\nNo, this is not possible.",  # an answer under its heading
        "May I go out in {t}?\n\nNo, this is not possible.",  # an answer under its question
        "Q: Is {t} wet?\n\nA: Yes, it is.",
        "# {t}\n\nNotes on {t}.\n\nBring with you:\n\n- a coat\n- a hat",  # a list and its opening
        "# {t}\n\nWhat to do about {t}.\n\n1. Log in.\n2. Choose {t}.\n3. Save.",  # part of a list
        "# {t}\n\nRates of {t}.\n\n| Years | Pay |\n| --- | --- |\n| 5 | 120 |",
        "# {t}\n\nCode for {t}.\n\n```\nexit 0\n```",
    ],
)
def test_what_means_something_where_it_stands_is_never_taken(template: str):
    texts = [template.format(t=topic) for topic in TOPICS]
    assert strip_all(texts) == texts


def test_facts_that_differ_in_a_number_are_not_boilerplate():
    texts = [
        f"# Sensor {n}\n\nMeasures {t}.\n\nThe price is EUR {n}." for n, t in enumerate(TOPICS)
    ]
    assert strip_all(texts) == texts


@pytest.mark.parametrize(("num_files", "is_taken"), [(MIN_FILES - 1, False), (MIN_FILES, True)])
def test_only_what_many_files_repeat_is_boilerplate(num_files: int, is_taken: bool):
    others = [f"Nothing but words about thing number {n}, told at length." for n in range(40)]
    texts = [f"About {topic} there is much.\n\nAcme Ltd" for topic in TOPICS[:num_files]]
    assert ("Acme Ltd" not in "".join(strip_all(texts + others))) == is_taken


def test_one_file_keeps_what_is_taken_from_the_others_and_a_list_tells(
    tmp_path: Path, read_folder: ReadFolder
):
    folder = tmp_path / "docs"
    folder.mkdir()
    for topic in TOPICS:
        text = f"# About {topic}\n\nOur {topic} lasts as long as {topic} can.\n\nAcme Ltd, Quay 4\n"
        (folder / f"{topic}.md").write_text(text)
    reading = read_folder(folder)
    kept = [name for name, doc in reading.documents.items() if "Quay 4" in doc.text]
    assert kept == ["cloud.md"]  # the first by name
    assert reading.corpus.num_boilerplate_lines == len(TOPICS) - 1
    assert sum(v.num_boilerplate_lines for v in reading.verdicts.values()) == len(TOPICS) - 1
    rows = [
        json.loads(row) for row in (reading.stage / "boilerplate.jsonl").read_text().splitlines()
    ]
    assert rows == [{"text": "Acme Ltd, Quay 4", "num_files": 11, "kept_in": "cloud.md"}]
    assert reading.corpus.num_characters == sum(v.num_characters for v in reading.verdicts.values())


def test_boilerplate_stays_when_the_recipe_says_so(tmp_path: Path, read_folder: ReadFolder):
    folder = tmp_path / "docs"
    folder.mkdir()
    for topic in TOPICS:
        (folder / f"{topic}.md").write_text(f"Our {topic} lasts long.\n\nAcme Ltd, Quay 4\n")
    reading = read_folder(folder, boilerplate="keep")
    assert all("Quay 4" in document.text for document in reading.documents.values())


def test_long_documents_are_looked_at_by_their_edges():
    # oracle: the middle of a document is left as it is
    stories = ["\n\n".join(f"Acme Ltd\n\n{t} {n}" for n in range(500)) for t in TOPICS]
    texts = [f"Acme Ltd\n\n{story[10:]}\n\nAcme Ltd" for story in stories]
    assert strip_all(texts) == [story[10:] for story in stories]
