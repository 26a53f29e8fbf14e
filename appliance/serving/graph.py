"""The graph of a bundle, opened in ONNX Runtime: what goes in, what comes out.

ONNX Runtime GenAI's own loop reads the same graph and gives the same tokens, but one batch must
begin and end together in it (docs/decisions/0012). Here the graph is run directly; who reads and
who steps is decided in `scheduler.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from appliance.errors import BundleError
from appliance.offline import go_offline

CONFIG = "genai_config.json"
"""The exporter's description of the graph."""

_MAX_GRAPH_BYTES = 256 * 2**20
"""Largest graph that is edited when it is loaded; weights lie beside it, so it is usually small."""

_HEADS = ("MatMulNBits", "MatMul")
"""Operators that the head can be, on hidden states of shape (batch, positions, width)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What the configuration says about a graph.

    Attributes:
        graph: file of the graph.
        past_names: inputs of the cache, keys and values of every layer.
        present_names: outputs of the cache, in the same order.
        head_width: K, which graphs often leave open.
        context: positions that the model was made for.
        vocab_size: entries of a row of logits.
        eos_ids: tokens that end an answer.
        is_shared: past and present may be one buffer, with rows of different lengths.
    """

    graph: Path
    past_names: tuple[str, ...]
    present_names: tuple[str, ...]
    head_width: int
    context: int
    vocab_size: int
    eos_ids: frozenset[int]
    is_shared: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A graph that can be run.

    Attributes:
        session: of ONNX Runtime.
        layout: what the configuration says.
        gives_last: logits come for the last position alone.
    """

    session: Any
    layout: Layout
    gives_last: bool


def read_layout(folder: Path) -> Layout:
    """Read `genai_config.json` of a bundle.

    Raises:
        BundleError: it is missing, damaged, or describes no decoder.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = config["model"]
        decoder = model["decoder"]
        inputs, outputs = decoder["inputs"], decoder["outputs"]
        layers = range(int(decoder["num_hidden_layers"]))
        name = PurePosixPath(decoder["filename"])
        if len(name.parts) != 1 or name.name == "..":
            raise ValueError(f"it names the graph {name}, outside of the bundle")
        eos = model["eos_token_id"]
        return Layout(
            graph=folder / name,
            past_names=_name_all(inputs["past_key_names"], inputs["past_value_names"], layers),
            present_names=_name_all(
                outputs["present_key_names"], outputs["present_value_names"], layers
            ),
            head_width=int(decoder["head_size"]),
            context=int(model["context_length"]),
            vocab_size=int(model["vocab_size"]),
            eos_ids=frozenset(map(int, eos if isinstance(eos, list) else [eos])),
            is_shared=bool(config["search"]["past_present_share_buffer"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise refuse(folder, _explain(exc)) from exc


def open_graph(folder: Path, threads: int) -> Graph:
    """Load the graph of a bundle on the processor, with the head cut to the last position.

    Args:
        folder: of the bundle; the weights lie beside the graph.
        threads: processor cores to use.

    Raises:
        BundleError: there is no graph, or ONNX Runtime refuses it.
    """
    layout = read_layout(folder)
    go_offline()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that wait by spinning hold up whatever else runs here, and other models' threads too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    try:
        content: bytes | str = str(layout.graph)
        is_cut = False
        if layout.graph.stat().st_size <= _MAX_GRAPH_BYTES:
            content, is_cut = cut_head(layout.graph.read_bytes())
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime has a dozen error classes without a common parent
        raise refuse(folder, _explain(exc)) from exc
    return Graph(session=session, layout=layout, gives_last=is_cut)


def cut_head(content: bytes) -> tuple[bytes, bool]:
    """Make a graph compute logits for the last position alone.

    Reading a prompt needs no others, and the head is a large part of a small model: on the embedded
    base, prompts are read 1.6 times as fast. A graph whose head is not found is left as it is.

    Args:
        content: a graph, serialized.

    Returns:
        The graph, and whether it was cut.

    Raises:
        ValueError: the graph is not one, or names a file of weights outside of its folder.
    """
    import onnx

    try:
        model = onnx.load_from_string(content)
    except Exception as exc:  # the library raises protobuf's own errors
        raise ValueError("the file is not an ONNX graph") from exc
    _check_places(model)
    head = _find_head(model.graph)
    if head is None:
        return content, False
    bounds = {"last_position_start": -1, "last_position_end": 2**62, "last_position_axis": 1}
    for name, value in bounds.items():
        model.graph.initializer.append(
            onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value])
        )
    last = onnx.helper.make_node("Slice", [head.input[0], *bounds], ["last_position"])
    model.graph.node.insert(list(model.graph.node).index(head), last)
    head.input[0] = "last_position"
    return bytes(model.SerializeToString()), True


def refuse(folder: Path, why: str) -> BundleError:
    """The error for a model that does not load."""
    return BundleError(
        f"the model in {folder} cannot be loaded",
        why=why,
        fix=f"check it with: appliance verify {folder}",
    )


def _name_all(keys: str, values: str, layers: range) -> tuple[str, ...]:
    return tuple(name % layer for layer in layers for name in (keys, values))


def _check_places(model: Any) -> None:
    """Weights lie beside the graph and nowhere else: a graph must not read other files."""
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and ({"/", "\\"} & set(entry.value) or entry.value == ".."):
                raise ValueError(f"weights of {tensor.name} lie outside of the bundle")


def _find_head(graph: Any) -> Any:
    """The product that gives the logits, seen through what follows it (a cast, a soft cap).

    None when the way back to it forks.
    """
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    node = producers.get("logits")
    while node is not None and node.op_type not in _HEADS:
        varying = [name for name in node.input if name in producers and name not in constants]
        node = producers[varying[0]] if len(varying) == 1 else None
    return node


def _explain(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{CONFIG} says nothing about {error.args[0]}"
    return (str(error).splitlines() or [type(error).__name__])[0]
