"""The base is asked, the real embedded one and one that answers well.

Oracle: the passages of the training split, and what was said. A copy of the embedded base cannot
follow instructions: how many of its pairs survive is told, not assumed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.asking import ask
from appliance.asking.ask import ask_base
from appliance.dataset.build import build_with_pairs
from appliance.dataset.origins import read_origins
from appliance.errors import InterruptedRun
from appliance.recipe import DatasetRecipe
from appliance.rundir import StageFolder
from appliance.values import MadePair, MadePairs
from tests.dataset.conftest import EMBEDDED, _write_corpus, base, make_document  # noqa: F401

THINGS = ("pump", "valve", "sensor", "boiler", "filter", "engine", "fan", "press", "mixer", "oven")


def make_corpus():
    return [
        make_document(
            number,
            f"# The {thing}\n\n"
            + "\n\n".join(
                f"The {thing} of hall {hall} was built in {1900 + 7 * number + hall} by the "
                f"{thing} works of town {hall * 3}, and it is cleaned by the night shift."
                for hall in range(9)
            ),
        )
        for number, thing in enumerate(THINGS)
    ]


class Stages:
    def __init__(self, path: Path):
        self.path, self.events, self.stops = path, [], iter(())

    def open(self, name: str) -> StageFolder:
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return StageFolder(
            name=name,
            folder=folder,
            run=self.path,
            on_event=self.events.append,
            should_stop=lambda: next(self.stops, False),
        )


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path)


def test_embedded_base_is_asked_and_told_honestly(stages, base, monkeypatch):  # noqa: F811
    monkeypatch.setattr(ask, "MAX_PASSAGES", 3)
    monkeypatch.setattr(ask, "QUESTION_TOKENS", 12)
    documents = make_corpus()
    made = ask_base(
        _write_corpus(documents, stages.open("c")),
        base,
        DatasetRecipe(pairs_by_base="yes"),
        stages.open("q"),
    )
    pairs = read_pairs(stages.path / made.file)
    assert made.num_asked == 3
    assert made.num_kept == len(pairs) == 3 - sum(made.faults.values())
    for pair in pairs:  # whatever survived stands in the text
        passage = documents[pair.document].text[pair.start : pair.end]
        assert pair.answer.split()[0].lower() in passage.lower()


def test_pairs_that_the_text_bears_out_are_trained_on_and_never_of_held_out_text(
    stages,
    base,  # noqa: F811
    monkeypatch,
):
    # a base that follows instructions is not here: what one would say is put into its mouth
    monkeypatch.setattr(ask, "load_speaker", lambda *_: Obedient())
    documents = make_corpus()
    corpus = _write_corpus(documents, stages.open("c"))
    recipe = DatasetRecipe(pairs_by_base="yes", pairs="none", passage_tokens=96)
    made = ask_base(corpus, base, recipe, stages.open("q"))
    assert made.num_kept > 5
    dataset = build_with_pairs(corpus, base, recipe, made, stages.open("d"))
    assert 0 < dataset.train.kinds["generated"] <= made.num_kept
    assert "generated" not in dataset.test.kinds | dataset.valid.kinds
    trained = {origin.source for origin in read_origins(stages.path / dataset.train.folder)}
    pairs = read_pairs(stages.path / made.file)
    assert {documents[pair.document].source for pair in pairs} <= trained


class Obedient:
    """Asks about the first sentence of a text, and answers from it; each third time it does not."""

    def __init__(self):
        self.shown: list[str] = []

    def say(self, talks, num_tokens: int) -> list[str]:
        return [self._say(talk[0].content) for talk in talks]

    def _say(self, prompt: str) -> str:
        text = prompt.split("Text:\n")[1]
        thing, hall = re.search(r"The (\w+) of hall (\d)", text).groups()
        if "Question:" in prompt:
            return re.search(r"was built in (\d+ by the \w+ works)", text)[1]
        self.shown.append(text)
        return f"When was the {thing} of hall {hall} built?" if len(self.shown) % 3 else "I do not."


def test_interrupted_asking_goes_on_where_it_was(stages, base, monkeypatch):  # noqa: F811
    documents = make_corpus()
    corpus = _write_corpus(documents, stages.open("c"))
    recipe = DatasetRecipe(pairs_by_base="yes", passage_tokens=96)
    first, second, whole = Obedient(), Obedient(), Obedient()
    monkeypatch.setattr(ask, "load_speaker", lambda *_: whole)
    at_once = ask_base(corpus, base, recipe, stages.open("whole"))
    monkeypatch.setattr(ask, "load_speaker", lambda *_: first)
    stages.stops = iter([False] * (len(documents) + 2) + [True])
    with pytest.raises(InterruptedRun):
        ask_base(corpus, base, recipe, stages.open("parts"))
    second.shown = [""] * len(first.shown)  # it counts on, as one who was not interrupted
    monkeypatch.setattr(ask, "load_speaker", lambda *_: second)
    stages.stops = iter(())
    in_parts = ask_base(corpus, base, recipe, stages.open("parts"))
    assert first.shown and whole.shown == first.shown + second.shown[len(first.shown) :]
    assert read_pairs(stages.path / in_parts.file) == read_pairs(stages.path / at_once.file)


def test_base_is_not_asked_unless_the_recipe_wants_it(stages, base):  # noqa: F811
    corpus = _write_corpus(make_corpus(), stages.open("c"))
    assert ask_base(corpus, base, DatasetRecipe(), stages.open("q")) == MadePairs()


def read_pairs(path: Path) -> list[MadePair]:
    return [MadePair.model_validate_json(line) for line in path.read_text().splitlines()]
