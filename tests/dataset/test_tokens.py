from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.dataset.tokens import ANSWER, Example, open_token_file, write_token_file

EXAMPLES = [
    Example(token_ids=[5, 6, 7], supervised=[False, True, True], document=0, num_bytes=8),
    Example(token_ids=[8, 9], supervised=[True, True], document=3, kind=ANSWER, num_bytes=2),
]


def test_examples_come_back_as_written(tmp_path: Path):
    file = write_token_file(tmp_path / "train", EXAMPLES, vocab_size=8192)
    assert file.tokens_N.tolist() == [5, 6, 7, 8, 9]
    assert file.supervised_N.tolist() == [0, 1, 1, 1, 1]
    assert file.examples_E5.tolist() == [[0, 3, 0, 0, 8], [3, 2, 3, 1, 2]]
    assert (file.num_tokens, file.lengths_E.tolist()) == (5, [3, 2])


def test_first_token_of_an_example_is_no_label(tmp_path: Path):
    file = write_token_file(tmp_path / "train", EXAMPLES, vocab_size=8192)
    assert file.count_labels().tolist() == [2, 1]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65536, np.uint16), (65537, np.uint32)])
def test_width_of_an_id_follows_the_vocabulary(tmp_path: Path, vocab_size: int, dtype):
    assert write_token_file(tmp_path / "t", EXAMPLES, vocab_size).tokens_N.dtype == dtype


def test_empty_split_can_be_opened(tmp_path: Path):
    file = write_token_file(tmp_path / "t", [], vocab_size=10)
    assert (file.num_tokens, len(file.examples_E5)) == (0, 0)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path):
    write_token_file(tmp_path / "t", EXAMPLES, vocab_size=10)
    (tmp_path / "t" / "supervised.bin").write_bytes(b"\1\1\1")
    with pytest.raises(ValueError, match="differ in length"):
        open_token_file(tmp_path / "t")
