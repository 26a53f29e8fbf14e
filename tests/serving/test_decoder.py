"""Oracle: the same graph, uncut and without a cache, run by ONNX Runtime on whole texts.

In fp32: int4 graphs round activations to 8 bits, and the least difference grows through rounding.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from appliance.errors import BundleError
from appliance.serving.decoder import (
    GrowingDecoder,
    SharedDecoder,
    count_position_bytes,
    make_decoder,
)
from appliance.serving.graph import cut_head, open_graph, read_layout

LENGTH = 256
TOLERANCE = 1e-4  # the order of sums differs


@pytest.fixture(scope="module")
def folder():
    from exported_model import get_folder

    return get_folder("fp32")


@pytest.fixture(scope="module")
def graph(folder):
    return open_graph(folder, threads=1)


@pytest.fixture(scope="module")
def read_whole(folder):
    """Logits after the last token of a text."""
    layout = read_layout(folder)
    session = onnxruntime.InferenceSession(str(layout.graph), providers=["CPUExecutionProvider"])
    inputs = {entry.name: entry for entry in session.get_inputs()}

    def read(token_ids):
        feeds = {
            "input_ids": np.array([token_ids], dtype=np.int64),
            "attention_mask": np.ones((1, len(token_ids)), dtype=np.int64),
        }
        for name in layout.past_names:
            shape = (1, inputs[name].shape[1], 0, layout.head_width)
            feeds[name] = np.zeros(shape, dtype=np.float32)
        return session.run(["logits"], feeds)[0][0, -1]

    return read


def make_texts(count, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(10, 8000, size).tolist() for size in random.integers(3, 90, count)]


@pytest.fixture(params=[SharedDecoder, GrowingDecoder])
def decoder(request, graph):
    return request.param(graph, 4, LENGTH)


def fill(decoder, texts):
    for row, text in enumerate(texts):
        decoder.read(row, text, 0)


def test_read_gives_the_logits_after_the_last_token(decoder, read_whole):
    (text,) = make_texts(1)
    np.testing.assert_allclose(decoder.read(2, text, 0), read_whole(text), atol=TOLERANCE)


def test_read_in_pieces_gives_the_same(decoder):
    (text,) = make_texts(1, seed=3)
    whole = decoder.read(0, text, 0).copy()
    decoder.read(1, text[:7], 0)
    np.testing.assert_allclose(decoder.read(1, text[7:], 7), whole, atol=TOLERANCE)


def test_step_takes_rows_of_different_lengths(decoder, read_whole):
    texts = make_texts(4)
    fill(decoder, texts)
    logits = decoder.step([11, 12, 13, 14], [len(text) for text in texts])
    for row, text in enumerate(texts):
        expected = read_whole([*text, 11 + row])
        np.testing.assert_allclose(logits[row], expected, atol=TOLERANCE)


def test_step_gives_each_row_what_it_gets_alone(decoder):
    texts = make_texts(4, seed=1)
    fill(decoder, texts)
    together = decoder.step([11, 12, 13, 14], [len(text) for text in texts]).copy()
    fill(decoder, texts)
    alone = decoder.step([11], [len(texts[0])])
    np.testing.assert_allclose(together[0], alone[0], atol=1e-5)


def test_step_after_step_follows_the_text(decoder, read_whole):
    texts = make_texts(2, seed=2)
    fill(decoder, texts)
    for number in range(70):  # past the width at which inputs are bound anew
        logits = decoder.step([20 + number, 30], [len(text) + number for text in texts])
    expected = read_whole([*texts[0], *range(20, 90)])
    np.testing.assert_allclose(logits[0], expected, atol=TOLERANCE)


def test_step_fills_a_row_to_its_end(decoder, read_whole):
    text = make_texts(1)[0] * 20
    decoder.read(0, text[: LENGTH - 1], 0)
    logits = decoder.step([9], [LENGTH - 1])
    np.testing.assert_allclose(logits[0], read_whole([*text[: LENGTH - 1], 9]), atol=TOLERANCE)


def test_read_from_an_earlier_place_forgets_what_came_after(decoder, read_whole):
    text, other = make_texts(2, seed=4)
    decoder.read(0, text, 0)
    logits = decoder.read(0, other, 2)
    np.testing.assert_allclose(logits, read_whole([*text[:2], *other]), atol=TOLERANCE)


def test_swap_exchanges_two_conversations(decoder, read_whole):
    texts = make_texts(4, seed=5)
    fill(decoder, texts)
    decoder.swap(0, 3, len(texts[0]), len(texts[3]))
    logits = decoder.step([7] * 4, [len(texts[row]) for row in (3, 1, 2, 0)])
    np.testing.assert_allclose(logits[0], read_whole([*texts[3], 7]), atol=TOLERANCE)
    np.testing.assert_allclose(logits[3], read_whole([*texts[0], 7]), atol=TOLERANCE)


def test_copy_gives_a_beginning_to_another_row(decoder, read_whole):
    text, other = make_texts(2, seed=6)
    decoder.read(1, text, 0)
    decoder.copy(1, 0, 3)
    logits = decoder.read(0, other, 3)
    np.testing.assert_allclose(logits, read_whole([*text[:3], *other]), atol=TOLERANCE)
    logits = decoder.read(1, [5], len(text))  # and leaves the row that it came from
    np.testing.assert_allclose(logits, read_whole([*text, 5]), atol=TOLERANCE)


def test_an_uncut_graph_gives_the_same_logits(folder, graph, read_whole):
    from dataclasses import replace

    session = onnxruntime.InferenceSession(
        str(graph.layout.graph), providers=["CPUExecutionProvider"]
    )
    uncut = SharedDecoder(replace(graph, session=session, gives_last=False), 2, LENGTH)
    (text,) = make_texts(1)
    np.testing.assert_allclose(uncut.read(1, text, 0), read_whole(text), atol=TOLERANCE)
    np.testing.assert_allclose(
        uncut.read(1, [4], len(text)), read_whole([*text, 4]), atol=TOLERANCE
    )


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_the_head_of_the_exported_graph_is_cut(precision):
    from exported_model import get_folder

    assert open_graph(get_folder(precision), threads=1).gives_last


def test_make_decoder_chooses_by_what_the_configuration_says(graph):
    from dataclasses import replace

    growing = replace(graph, layout=replace(graph.layout, is_shared=False))
    assert isinstance(make_decoder(graph, 1, 8), SharedDecoder)
    assert isinstance(make_decoder(growing, 1, 8), GrowingDecoder)


def test_count_position_bytes_is_keys_and_values_of_all_layers(graph):
    """Oracle: 4 layers, 2 key heads of width 64, keys and values, 4 bytes each."""
    assert count_position_bytes(graph) == 4 * 2 * 64 * 2 * 4


def test_a_cache_takes_memory_only_where_it_is_filled(graph):
    """Oracle: the size of the process, from the kernel."""

    def measure():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = measure()
    decoder = SharedDecoder(graph, 16, 65_536)  # 4 GiB
    decoder.read(11, [5, 6, 7], 0)
    assert measure() - before < 64 * 2**20


def make_graph(tmp_path, folder, change):
    import onnx

    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    change(model)
    return model.SerializeToString()


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "..", "a\\b"])
def test_cut_head_refuses_weights_outside_of_the_bundle(tmp_path, folder, location):
    def point_elsewhere(model):
        tensor = next(t for t in model.graph.initializer if t.external_data)
        next(e for e in tensor.external_data if e.key == "location").value = location

    with pytest.raises(ValueError, match="outside of the bundle"):
        cut_head(make_graph(tmp_path, folder, point_elsewhere))


def test_cut_head_leaves_a_graph_without_a_plain_head_alone(tmp_path, folder):
    def hide(model):
        head = next(n for n in model.graph.node if "logits" in n.output)
        head.op_type = "Other"
        del head.input[1:]
        head.input.append(model.graph.node[0].output[0])

    content = make_graph(tmp_path, folder, hide)
    assert cut_head(content) == (content, False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 3}'])
def test_read_layout_refuses_a_configuration_that_is_none(tmp_path, content):
    (tmp_path / "genai_config.json").write_text(content)
    with pytest.raises(BundleError, match="cannot be loaded") as caught:
        read_layout(tmp_path)
    assert caught.value.why


@pytest.mark.parametrize("name", ["../model.onnx", "/model.onnx", "a/model.onnx", ".."])
def test_read_layout_refuses_a_graph_outside_of_the_bundle(tmp_path, folder, name):
    import json

    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["filename"] = name
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="cannot be loaded") as caught:
        read_layout(tmp_path)
    assert "outside" in caught.value.why
