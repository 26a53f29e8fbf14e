import random

import pytest
from exported_model import EMBEDDED
from tokenizers import Tokenizer

from appliance.serving.text import StopFinder, TextStream, is_looping

TEXTS = [
    "The pump is started with the green button.",
    "Größe 1,5 µm — 日本 🙂👩‍👩‍👧 z̷a̸l̶g̵o̶",
    "\n\n\t leading and trailing  \n",
    "🙂" * 5,
    "",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_text_stream_gives_the_whole_text(tokenizer, text):
    """Oracle: the tokenizer's own decoding of all tokens."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    stream = TextStream(tokenizer)
    assert "".join(stream.add([token]) for token in ids) == tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", TEXTS)
def test_text_stream_takes_several_tokens_at_once(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    stream = TextStream(tokenizer)
    pieces = [stream.add(ids[start : start + 3]) for start in range(0, len(ids), 3)]
    assert "".join(pieces) == text


def test_text_stream_never_shows_a_part_of_a_character(tokenizer):
    ids = tokenizer.encode(TEXTS[1] + TEXTS[3], add_special_tokens=False).ids
    stream = TextStream(tokenizer)
    assert not any("\ufffd" in stream.add([token]) for token in ids)


def test_text_stream_goes_on_after_bytes_that_are_no_text(tokenizer):
    ids = tokenizer.encode("🙂", add_special_tokens=False).ids
    assert len(ids) > 1  # so that a part of it is no text
    stream = TextStream(tokenizer)
    pieces = [stream.add([token]) for token in [ids[0], *tokenizer.encode(" and more").ids]]
    assert "".join(pieces).endswith(" and more")


def test_text_stream_leaves_special_tokens_out(tokenizer):
    end = tokenizer.token_to_id("<|im_end|>")
    stream = TextStream(tokenizer)
    assert stream.add([end]) == ""


def run(stops, pieces):
    """What is shown until a stop, and whether there was one."""
    finder, shown = StopFinder(stops), ""
    for piece in pieces:
        shown += finder.add(piece)
        if finder.found:
            return shown, True
    return shown + finder.finish(), False


@pytest.mark.parametrize(
    ("stops", "pieces", "expected"),
    [
        ([], ["a", "b"], ("ab", False)),
        (["b"], ["a", "b", "c"], ("a", True)),
        (["END"], ["so E", "N", "D. More"], ("so ", True)),
        (["END"], ["E", "E", "N", "X"], ("EENX", False)),
        (["\n\n"], ["one\n", "two\n", "\nthree"], ("one\ntwo", True)),
        (["bc", "b"], ["abc"], ("a", True)),
        (["c", "ab"], ["xabc"], ("x", True)),
        (["aab"], ["aa", "aab"], ("aa", True)),
        (["END"], ["the EN"], ("the EN", False)),
        (["日本"], ["in 日", "本で"], ("in ", True)),
        (["x"], ["x"], ("", True)),
    ],
)
def test_stop_finder_ends_before_the_first_stop(stops, pieces, expected):
    assert run(stops, pieces) == expected


def test_stop_finder_does_not_depend_on_how_the_text_is_cut():
    """Oracle: searching the whole text."""
    numbers = random.Random(0)
    for _ in range(500):
        text = "".join(numbers.choices("ab", k=30))
        stops = ["".join(numbers.choices("ab", k=numbers.randint(1, 6))) for _ in range(2)]
        places = [text.find(stop) for stop in stops if stop in text]
        expected = (text[: min(places)], True) if places else (text, False)
        cuts = sorted(numbers.sample(range(31), 5))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, 30], strict=True)]
        shown, found = run(stops, pieces)
        assert found is expected[1]
        # two stops may both be complete at once; one at a time, the earlier one wins
        assert text.startswith(shown)
        if len(set(stops)) == 1 or not found:
            assert shown == expected[0]
    for text, stop in [("aabab", "abab"), ("abaabaab", "abaab")]:
        assert run([stop], list(text)) == (text[: text.find(stop)], True)


def test_stop_finder_shows_at_once_what_cannot_begin_a_stop():
    finder = StopFinder(["END"])
    assert finder.add("The E") == "The "
    assert finder.add("lephant") == "Elephant"


@pytest.mark.parametrize(
    ("token_ids", "expected"),
    [
        ([1] * 48, True),
        ([1] * 47, False),
        ([9, 9, 9, *([1, 2, 3] * 16)], True),
        (list(range(30)) * 4, True),
        (list(range(30)) * 3, False),
        (list(range(200)), False),
        ([], False),
    ],
)
def test_is_looping_finds_four_rounds_of_a_cycle(token_ids, expected):
    assert is_looping(token_ids) is expected
