"""The base asks about the training documents, and answers from them.

Two turns a passage: a question, then its answer from the passage; `grounds.py` tells what is kept.
Only what will be trained on is shown to the model. Every passage leaves a line in `asked.jsonl` as
soon as it is done, so that a killed job goes on with the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.asking.grounds import Fault, judge_answer, judge_question, read_question
from appliance.asking.speak import Speaker, load_speaker
from appliance.dataset.maker import set_limits
from appliance.dataset.pairing.words import find_content
from appliance.dataset.passages import make_passages
from appliance.dataset.shards import check_stop, read_shards
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.events import Note, Progress
from appliance.recipe import DatasetRecipe
from appliance.rundir import StageFolder
from appliance.values import BaseSpec, Corpus, MadePair, MadePairs, Turn, Value

MAX_PASSAGES = 2_000
"""Shown to the base at most, spread over all documents: a night on a small machine."""

QUESTION_TOKENS, ANSWER_TOKENS = 48, 96
"""Tokens that a question and an answer may have."""

_BATCH = 8
"""Passages asked about at a time."""

_MIN_TOKENS = 48
"""Of a passage that has something to ask about."""

_ASK = "Write one question that this text answers. Write only the question.\n\nText:\n{text}"
_ANSWER = "Answer the question in the words of the text.\n\nText:\n{text}\n\nQuestion: {question}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A passage to ask about.

    Attributes:
        document: its number.
        start: first character.
        end: the character after it.
        text: of it.
    """

    document: int
    start: int
    end: int
    text: str


class _Asked(Value):
    """What came of one passage: a line of `asked.jsonl`."""

    pair: MadePair
    fault: Fault | None = None


def ask_base(
    corpus: Corpus, spec: BaseSpec, recipe: DatasetRecipe, stage: StageFolder
) -> MadePairs:
    """Let the base write questions and answers about the documents that will be trained on.

    Args:
        corpus: what `read_corpus` returned.
        spec: the base; it should be one that follows instructions.
        recipe: lengths, shares and seed, which decide what will be trained on.
        stage: where `pairs.jsonl` is written.

    Returns:
        How many were kept, and why the others were not; noughts if the recipe does not want any.

    Raises:
        BaseModelError: the base cannot be loaded, or its template cannot put a question.
        InterruptedRun: the person wants to stop; what was asked is kept.
    """
    if recipe.pairs_by_base == "no":
        return MadePairs()
    tokenizer = load_tokenizer(Path(spec.folder))
    places = find_places(corpus, spec, recipe, tokenizer, stage)
    speaker = load_speaker(Path(spec.folder), tokenizer)
    path = stage.folder / "asked.jsonl"
    done = _read_done(path)
    _write(path, done)
    for first in range(len(done), len(places), _BATCH):
        check_stop(stage)
        batch = places[first : first + _BATCH]
        asked = [_settle(*item) for item in zip(batch, *_ask(batch, speaker), strict=True)]
        done += asked
        with path.open("a", encoding="utf-8") as lines:
            lines.writelines(item.model_dump_json() + "\n" for item in asked)
        stage.on_event(
            Progress(stage=stage.name, done=len(done), total=len(places), unit="passages")
        )
    return _keep(done, stage)


def find_places(
    corpus: Corpus,
    spec: BaseSpec,
    recipe: DatasetRecipe,
    tokenizer: TextTokenizer,
    stage: StageFolder,
) -> list[Place]:
    """Passages of the training split, as `build_dataset` will divide it, from all over it."""
    limits = set_limits(spec, recipe)
    places: list[Place] = []
    num_seen, stride = 0, 1
    for shard in read_shards(corpus, tokenizer, limits, recipe, stage):
        for unit in shard.list_split("train"):
            text = shard.documents[unit.document].text
            for passage in make_passages(text, unit.blocks, tokenizer, limits.passage).passages:
                if passage.num_tokens < _MIN_TOKENS:
                    continue
                num_seen += 1
                if (num_seen - 1) % stride:
                    continue
                if len(places) == 4 * MAX_PASSAGES:  # a large corpus: every second is enough
                    places, stride = places[::2], 2 * stride
                places.append(
                    Place(
                        document=unit.document,
                        start=passage.start,
                        end=passage.end,
                        text=passage.text,
                    )
                )
    if len(places) <= MAX_PASSAGES:
        return places
    return [places[turn * len(places) // MAX_PASSAGES] for turn in range(MAX_PASSAGES)]


def _ask(places: Sequence[Place], speaker: Speaker) -> tuple[list[str], list[str]]:
    """A question about every place, and its answer; "" where there was no question."""
    asked = [[Turn(role="user", content=_ASK.format(text=place.text))] for place in places]
    questions = [read_question(said) for said in speaker.say(asked, QUESTION_TOKENS)]
    prompts = [
        [Turn(role="user", content=_ANSWER.format(text=place.text, question=question))]
        for place, question in zip(places, questions, strict=True)
    ]
    good = [
        number
        for number, place in enumerate(places)
        if judge_question(questions[number], place.text) is None
    ]
    said = speaker.say([prompts[number] for number in good], ANSWER_TOKENS)
    answers = dict(zip(good, said, strict=True))
    return questions, [answers.get(number, "").strip() for number in range(len(places))]


def _settle(place: Place, question: str, answer: str) -> _Asked:
    fault = judge_question(question, place.text) or judge_answer(answer, question, place.text)
    pair = MadePair(
        document=place.document,
        start=place.start,
        end=place.end,
        question=question,
        answer=answer,
    )
    return _Asked(pair=pair, fault=fault)


def _read_done(path: Path) -> list[_Asked]:
    """What an interrupted job left; a line that was being written when it died is not there."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [_Asked.model_validate_json(line) for line in lines if line.endswith("\n")]


def _write(path: Path, asked: Sequence[_Asked]) -> None:
    path.write_text("".join(item.model_dump_json() + "\n" for item in asked), encoding="utf-8")


def _keep(asked: Sequence[_Asked], stage: StageFolder) -> MadePairs:
    """Write the pairs that are grounded, each question once."""
    faults: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    kept = []
    for item in asked:
        key = tuple(sorted(set(find_content(item.pair.question))))
        fault: Fault | None = item.fault or ("asked before" if key in seen else None)
        if fault:
            faults[fault] += 1
            continue
        seen.add(key)
        kept.append(item.pair)
    lines = "".join(pair.model_dump_json() + "\n" for pair in kept)
    (stage.folder / "pairs.jsonl").write_text(lines, encoding="utf-8")
    (stage.folder / "asked.jsonl").unlink(missing_ok=True)
    told = "; ".join(f"{count:,} {fault}" for fault, count in faults.most_common())
    stage.on_event(
        Note(
            text=f"the base asked about {len(asked):,} passages: {len(kept):,} pairs kept"
            + (f" (left out: {told})" if told else "")
        )
    )
    return MadePairs(
        file=stage.locate("pairs.jsonl"),
        num_asked=len(asked),
        num_kept=len(kept),
        faults=dict(sorted(faults.items())),
    )
