"""Oracle for every answer: the same question to an engine that answers nothing else."""

import threading

import pytest

from appliance.serving.answer import Task
from appliance.serving.driver import Driver
from appliance.serving.sampling import Sampling
from appliance.serving.scheduler import READ_TOKENS, QueueFull

WORDS = ("pump", "valve", "leave", "contract", "filter", "pressure", "letter", "department")


def make_task(engine, word, num_tokens=24, padding=0, **options):
    ids = engine.encode_text(f"{'So it is. ' * padding}The {word} of the house is")
    options.setdefault("sampling", Sampling(biases={3: -100.0}))  # it does not end by itself
    return Task(
        prompt_ids=tuple(ids), room=engine.context - len(ids), max_tokens=num_tokens, **options
    )


class Heard:
    """The pieces of an answer."""

    def __init__(self, engine, task):
        self.pieces = []
        self.answer = engine.submit(task, self.pieces.append)

    @property
    def text(self):
        return "".join(piece.text for piece in self.pieces)

    @property
    def end(self):
        return self.pieces[-1].end if self.pieces else None


def finish(engine):
    while engine.scheduler.advance():
        pass


@pytest.fixture
def alone(make_engine):
    """What an engine says that has nobody else to talk to."""

    def ask(task):
        engine = make_engine()
        heard = Heard(engine, task)
        finish(engine)
        return heard.text

    return ask


def test_eight_answers_at_once_are_those_of_one_at_a_time(make_engine, alone):
    engine = make_engine(num_rows=8)
    tasks = [make_task(engine, word, 10 + 7 * number, number) for number, word in enumerate(WORDS)]
    heard = [Heard(engine, task) for task in tasks]
    finish(engine)
    assert [entry.text for entry in heard] == [alone(task) for task in tasks]
    assert [entry.end.num_tokens for entry in heard] == [10 + 7 * number for number in range(8)]


def test_answers_stay_apart_when_they_come_and_go(make_engine, alone):
    """Sixteen requests over three rows, every third left behind halfway."""
    engine = make_engine(num_rows=3, max_waiting=16)
    tasks = [
        make_task(engine, WORDS[number % 8], 5 + 3 * (number % 5), number % 4)
        for number in range(16)
    ]
    heard = [Heard(engine, task) for task in tasks]
    for turn in range(1_000):
        if not engine.scheduler.advance():
            break
        for entry in heard[::3]:
            if turn % 5 == 0 and entry.pieces and entry.end is None:
                entry.answer.is_unwanted = True
    for entry, task in zip(heard, tasks, strict=True):
        expected = alone(task)
        if entry.end.reason == "cancelled":
            assert expected.startswith(entry.text)
        else:
            assert entry.text == expected


def test_a_newcomer_begins_at_the_next_token_of_the_others(make_engine):
    engine = make_engine(num_rows=8)
    others = [Heard(engine, make_task(engine, word, 200)) for word in WORDS[:7]]
    while not all(entry.pieces for entry in others):
        engine.scheduler.advance()
    newcomer = Heard(engine, make_task(engine, "letter", 4))
    engine.scheduler.advance()
    assert newcomer.pieces


def test_the_others_wait_for_a_piece_of_a_long_prompt_not_for_all_of_it(make_engine):
    engine = make_engine(num_rows=2)
    other = Heard(engine, make_task(engine, "pump", 200, num_top=0))
    engine.scheduler.advance()
    newcomer = Heard(engine, make_task(engine, "letter", 4, padding=120))
    assert len(newcomer.answer.task.prompt_ids) > 5 * READ_TOKENS
    before = count_scores(engine, other)
    for _ in range(5):
        engine.scheduler.advance()
    other.answer.is_unwanted = True
    engine.scheduler.advance()  # delivers what has come
    assert not newcomer.pieces
    assert count_scores(engine, other) - before >= 4


def count_scores(engine, heard):
    return sum(len(piece.scores) for piece in heard.pieces)


def test_a_short_prompt_passes_a_long_one_but_not_forever(make_engine):
    engine = make_engine(num_rows=8, max_waiting=100)
    long = Heard(engine, make_task(engine, "pump", 1, padding=150))
    engine.scheduler.advance()
    passed = 0
    while long.end is None:
        short = Heard(engine, make_task(engine, "letter", 1, owner=str(passed)))
        engine.scheduler.advance()
        passed += short.end is not None and long.end is None
    assert passed >= 1
    num_pieces = len(long.answer.task.prompt_ids) // READ_TOKENS
    assert passed <= 2 * num_pieces


def test_a_row_is_free_after_the_token_at_which_its_answer_was_left(make_engine):
    engine = make_engine(num_rows=1, max_waiting=1)
    first = Heard(engine, make_task(engine, "pump", 500))
    engine.scheduler.advance()
    second = Heard(engine, make_task(engine, "letter", 2))
    first.answer.is_unwanted = True
    engine.scheduler.advance()
    assert first.end.reason == "cancelled"
    assert second.pieces


def test_an_answer_that_waits_can_be_left(make_engine):
    engine = make_engine(num_rows=1, max_waiting=1)
    first = Heard(engine, make_task(engine, "pump", 5))
    second = Heard(engine, make_task(engine, "letter", 5))
    second.answer.is_unwanted = True
    engine.scheduler.advance()
    assert second.end.reason == "cancelled"
    assert second.end.num_tokens == 0
    finish(engine)
    assert first.end.num_tokens == 5


def test_submit_refuses_when_all_places_are_taken_and_says_when_to_come_back(make_engine):
    engine = make_engine(num_rows=1, max_waiting=2)
    for _ in range(3):
        Heard(engine, make_task(engine, "pump", 3))
    with pytest.raises(QueueFull) as caught:
        Heard(engine, make_task(engine, "pump", 3))
    assert caught.value.retry_seconds >= 1
    finish(engine)
    Heard(engine, make_task(engine, "pump", 3))  # there is room again
    finish(engine)


def test_an_owner_with_many_requests_does_not_keep_another_waiting(make_engine):
    engine = make_engine(num_rows=2, max_waiting=20)
    many = [Heard(engine, make_task(engine, "pump", 4, owner="many")) for _ in range(12)]
    one = Heard(engine, make_task(engine, "letter", 4, owner="one"))
    while one.end is None:
        engine.scheduler.advance()
    assert sum(entry.end is not None for entry in many) <= 4
    finish(engine)
    assert all(entry.end.num_tokens == 4 for entry in many)


def test_an_answer_ends_when_its_time_is_over(make_engine):
    engine = make_engine(num_rows=1, max_waiting=1)
    heard = Heard(engine, make_task(engine, "pump", 500, max_seconds=0.05))
    waiting = Heard(engine, make_task(engine, "valve", 500, max_seconds=0.0))
    finish(engine)
    assert heard.end.reason == "time"
    assert (waiting.end.reason, waiting.end.num_tokens) == ("time", 0)


def test_the_next_turn_reads_only_what_is_new(make_engine, alone):
    engine = make_engine(num_rows=4)
    first = make_task(engine, "pump", 12)
    heard = Heard(engine, first)
    finish(engine)
    ids = (*first.prompt_ids, *engine.encode_text(heard.text)[1:], *engine.encode_text(" And?")[1:])
    following = Task(prompt_ids=ids, room=900, max_tokens=12, sampling=first.sampling)
    second = Heard(engine, following)
    finish(engine)
    assert second.end.num_cached == len(first.prompt_ids)
    assert second.text == alone(following)


def test_the_same_prompt_again_is_hardly_read(make_engine, alone):
    engine = make_engine(num_rows=2)
    task = make_task(engine, "pump", 8)
    heard = [Heard(engine, task)]
    finish(engine)
    heard.append(Heard(engine, task))
    finish(engine)
    assert heard[1].end.num_cached == len(task.prompt_ids) - 2
    assert heard[0].text == heard[1].text == alone(task)


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 63, 64, 65, 66, 128, 129, 130])
def test_scores_have_the_same_bits_with_a_cache_and_in_company(make_engine, num_tokens):
    """Prompts of all lengths that could leave a single token at a border of pieces."""
    ids = tuple(range(100, 100 + num_tokens))
    task = Task(prompt_ids=ids, room=900, max_tokens=20, num_top=3)
    idle = make_engine()
    fresh = Heard(idle, task)
    finish(idle)
    engine = make_engine(num_rows=4, max_waiting=8)
    for shared in {1, num_tokens // 2, num_tokens - 1, num_tokens} - {0}:
        Heard(engine, Task(prompt_ids=(*ids[:shared], 50, 51), room=900, max_tokens=30))
        engine.scheduler.advance()
        engine.scheduler.advance()
    heard = Heard(engine, task)
    finish(engine)
    again = Heard(engine, task)
    finish(engine)
    assert list_scores(heard) == list_scores(fresh) == list_scores(again)


def list_scores(heard):
    return [score for piece in heard.pieces for score in piece.scores]


def test_a_beginning_is_shared_with_an_answer_that_still_runs(make_engine, alone):
    engine = make_engine(num_rows=3)
    long = make_task(engine, "pump", 60, padding=20)
    first = Heard(engine, long)
    for _ in range(12):
        engine.scheduler.advance()
    task = make_task(engine, "letter", 10, padding=20)
    second = Heard(engine, task)
    finish(engine)
    assert second.end.num_cached > 60
    assert (first.text, second.text) == (alone(long), alone(task))


def test_nothing_is_shared_between_owners(make_engine):
    engine = make_engine(num_rows=2)
    Heard(engine, make_task(engine, "pump", 4, owner="0"))
    finish(engine)
    other = Heard(engine, make_task(engine, "pump", 4, owner="1"))
    finish(engine)
    assert other.end.num_cached == 0


def test_a_conversation_stays_in_the_cache_while_others_come_and_go(make_engine):
    engine = make_engine(num_rows=4)
    task = make_task(engine, "pump", 4, padding=10)
    Heard(engine, task)
    finish(engine)
    for word in WORDS[1:4]:
        Heard(engine, make_task(engine, word, 4, owner=word))
        finish(engine)
    again = Heard(engine, task)
    finish(engine)
    assert again.end.num_cached == len(task.prompt_ids) - 2


def test_fail_ends_what_runs_and_forgets_the_cache(make_engine, alone):
    engine = make_engine(num_rows=1, max_waiting=1)
    task = make_task(engine, "pump", 20)
    first = Heard(engine, task)
    second = Heard(engine, task)
    for _ in range(3):
        engine.scheduler.advance()
    engine.scheduler.fail()
    finish(engine)
    assert first.end.reason == "fault"
    assert second.end.num_cached == 0
    assert second.text == alone(task)


def test_a_seed_gives_the_same_answer_whoever_else_is_there(make_engine, alone):
    engine = make_engine(num_rows=8)
    sampling = Sampling(temperature=1.0, seed=7, biases={3: -100.0})
    tasks = [make_task(engine, word, 20, sampling=sampling) for word in WORDS]
    heard = [Heard(engine, task) for task in tasks]
    finish(engine)
    assert [entry.text for entry in heard] == [alone(task) for task in tasks]


def test_the_driver_serves_two_models_from_many_threads(make_engine, alone):
    engines = [make_engine(num_rows=2, max_waiting=20) for _ in range(2)]
    driver = Driver([engine.scheduler for engine in engines])
    driver.start()
    results = {}

    def work(number):
        engine = engines[number % 2]
        done = threading.Event()
        pieces = []
        task = make_task(engine, WORDS[number], 6)

        def take(piece):
            pieces.append(piece)
            if piece.end:
                done.set()

        engine.submit(task, take)
        assert done.wait(60)
        results[number] = ("".join(piece.text for piece in pieces), task)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driver.close()
    assert len(results) == 8
    for text, task in results.values():
        assert text == alone(task)


def test_the_driver_goes_on_after_a_model_that_failed(make_engine):
    engine = make_engine(num_rows=1)
    driver = Driver([engine.scheduler])
    ends = [threading.Event(), threading.Event()]
    reasons = []

    def take(piece, number):
        if piece.end:
            reasons.append(piece.end.reason)
            ends[number].set()

    broken = Task(prompt_ids=(10**6,), room=5, max_tokens=5)  # no such token: the graph refuses it
    driver.start()
    engine.submit(broken, lambda piece: take(piece, 0))
    assert ends[0].wait(60)
    engine.submit(make_task(engine, "pump", 3), lambda piece: take(piece, 1))
    assert ends[1].wait(60)
    driver.close()
    assert reasons == ["fault", "length"]
