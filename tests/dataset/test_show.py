"""Shown examples. Oracle: the token file, and the text that was put in."""

from appliance.dataset.show import show_examples
from appliance.dataset.tokens import ANSWER
from tests.dataset.conftest import make_document

WORDS = ("pump", "valve", "sensor", "boiler", "filter", "engine", "fan", "press")


def write_text(word: str) -> str:
    """A page that shares no paragraph with another one."""
    steps = (
        f"The {word} of line {number} is cleaned in {number} minutes; write down what the {word} "
        f"showed before, and tell the {word} team when it shows {number} more."
        for number in range(12)
    )
    return f"# The {word}\n\n" + "\n\n".join(steps)


def make_documents():
    chats = [
        [("user", f"How long do I wait at line {number}?"), ("assistant", f"{number} minutes.")]
        for number in range(12)
    ]
    documents = [make_document(number, write_text(word)) for number, word in enumerate(WORDS)]
    return [*documents, make_document(8, conversations=chats)]


def test_parts_are_the_whole_example_with_its_labels(build, tokenizer, tmp_path):
    built = build(make_documents(), passage_tokens=64, pairs="none")
    file = built.splits["train"]
    labels = file.count_labels()
    for example in show_examples(tmp_path / "run" / built.dataset.train.folder, tokenizer, 1000):
        start, length, _, kind, _ = file.examples_E5[example.number]
        ids = file.tokens_N[start : start + length].tolist()
        text = tokenizer.chat.decode(ids, skip_special_tokens=False)
        assert "".join(part.text for part in example.parts) == text
        assert (example.num_tokens, example.num_labels) == (length, labels[example.number])
        assert example.kind == ("conversation" if kind == ANSWER else "passage")


def test_only_the_answer_of_a_conversation_is_marked(build, tokenizer, tmp_path):
    built = build(make_documents(), passage_tokens=64, pairs="none")
    shown = show_examples(tmp_path / "run" / built.dataset.train.folder, tokenizer, 1000)
    (asked, answered), *_ = [
        ("".join(p.text for p in example.parts if not p.supervised),
         "".join(p.text for p in example.parts if p.supervised))
        for example in shown
        if example.kind == "conversation"
    ]  # fmt: skip
    assert "How long do I wait" in asked
    assert "minutes." in answered
    assert "How long" not in answered


def test_both_kinds_are_shown_and_no_more_than_asked(build, tokenizer, tmp_path):
    built = build(make_documents(), passage_tokens=64, pairs="none")
    folder = tmp_path / "run" / built.dataset.train.folder
    kinds = [example.kind for example in show_examples(folder, tokenizer, 5)]
    assert sorted(set(kinds)) == ["conversation", "passage"]
    assert len(kinds) == 5
    numbers = [example.number for example in show_examples(folder, tokenizer, 5)]
    assert numbers == sorted(set(numbers))


def test_where_one_kind_is_missing_the_other_fills_in(build, tokenizer, tmp_path):
    built = build(make_documents()[:8], passage_tokens=64, pairs="none")
    folder = tmp_path / "run" / built.dataset.train.folder
    shown = show_examples(folder, tokenizer, 5)
    assert [example.kind for example in shown] == ["passage"] * 5
