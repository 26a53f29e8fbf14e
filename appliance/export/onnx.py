"""A merged checkpoint → an ONNX graph that ONNX Runtime GenAI runs.

The work is done by the model builder of onnxruntime-genai, in this process. It accepts options it
does not know and reports success on a half-empty checkpoint, so the checkpoint is checked before
and the graph after. Whether the graph computes the same is the business of `parity.py`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.dataset.tokenizer import load_tokenizer
from appliance.errors import ExportError
from appliance.export.corrections import correct, list_corrections
from appliance.export.keys import check_keys
from appliance.export.virtual import trim_logits
from appliance.offline import go_offline
from appliance.rundir import StageFolder
from appliance.values import ExportChoice, MergedModel, OnnxModel, Precision

_BUILDER_ARGUMENTS: dict[Precision, tuple[str, list[str]]] = {
    "fp32": ("fp32", []),
    # k-quant with the head in 8 bits: 70 % less divergence than all-int4 for 6 % more bytes
    "int4": ("int4", ["algo_config=k_quant_last"]),
    # and the layers that are hurt most in 8 bits too
    "int4-mixed": ("int4", ["algo_config=k_quant_mixed"]),
    "int8": ("int8", []),
}
"""Precision and extra options of the builder.

Source: divergence measured on a 4 M Llama after QLoRA, 48 x 128 tokens, November 2026.
"""

_EXPECTED_BITS: dict[Precision, tuple[set[int], int | None]] = {
    "fp32": (set(), None),
    "int4": ({4}, 8),
    "int4-mixed": ({4, 8}, 8),
    "int8": ({8}, 8),
}
"""Bits of the layers, and bits of the head."""

_FULL_CACHE = "windowed_kv_cache=false"
"""Layers with a window keep all keys: `serving/decoder.py` cuts rows back to any earlier length.

The smaller cache fails in the library's own loop too (onnxruntime-genai 0.18.0, Mistral)."""

GRAPH = "model.onnx"
"""File name of the graph; its weights lie beside it in model.onnx.data."""


def export_onnx(merged: MergedModel, choice: ExportChoice, stage: StageFolder) -> OnnxModel:
    """Build the graph, with tokenizer, chat template and runtime configuration beside it.

    Args:
        merged: a plain checkpoint.
        choice: the precision.
        stage: where to write.

    Returns:
        The model; its folder loads in `onnxruntime_genai.Model` and `Tokenizer`.

    Raises:
        ExportError: the checkpoint is incomplete, the builder failed, or the graph is not what
            was asked for.
    """
    source = stage.open(merged.folder)
    name = f"onnx-{choice.precision}"
    target = stage.folder / name
    check_keys(source)
    shutil.rmtree(target, ignore_errors=True)  # an interrupted build
    _build(source, target, choice.precision, stage.folder / f"{name}.log")
    virtual_ids = load_tokenizer(source).virtual_ids
    if virtual_ids:
        trim_logits(target, virtual_ids[0])
    check_graph(target / GRAPH, choice.precision)
    _complete_folder(source, target)
    return OnnxModel(
        folder=stage.locate(name),
        precision=choice.precision,
        num_bytes=sum(path.stat().st_size for path in target.iterdir()),
    )


def check_graph(graph: Path, precision: Precision) -> None:
    """See in the graph itself that every matrix has the precision that was asked for.

    Raises:
        ExportError: a matrix was left in floating point, or has other bits than it should.
    """
    import onnx

    nodes = onnx.load(str(graph), load_external_data=False).graph
    constants = {tensor.name for tensor in nodes.initializer}
    plain = [
        node.name
        for node in nodes.node
        if node.op_type in ("MatMul", "Gemm") and constants & set(node.input)
    ]
    bits = {
        node.name: next(a.i for a in node.attribute if a.name == "bits")
        for node in nodes.node
        if node.op_type == "MatMulNBits"
    }
    head = [number for name, number in bits.items() if "lm_head" in name]
    layers = {number for name, number in bits.items() if "lm_head" not in name}
    expected_layers, expected_head = _EXPECTED_BITS[precision]
    fault = ""
    if precision != "fp32" and plain:
        fault = f"{len(plain)} of its matrices are not quantized, the first is {plain[0]}"
    elif layers != expected_layers:
        fault = f"its layers have {sorted(layers)} bits, not {sorted(expected_layers)}"
    elif head != ([] if expected_head is None else [expected_head]):
        fault = f"its head has {head} bits, not {expected_head}"
    elif precision == "fp32" and not plain:
        fault = "it holds no matrix"
    if fault:
        raise ExportError(
            f"the exporter built another graph than {precision}",
            why=fault,
            fix="export in another precision: --set export.precision=int8",
        )


def _build(source: Path, target: Path, precision: Precision, log: Path) -> None:
    go_offline()
    builder_precision, options = _BUILDER_ARGUMENTS[precision]
    cache = target.with_name(f"{target.name}.cache")
    places = (None, str(source), str(target), builder_precision, "cpu", str(cache))
    try:
        with _quiet(log):
            from onnxruntime_genai.models import builder

            prepared = builder.parse_extra_options(*places, [*options, _FULL_CACHE])
            config = prepared["hf_details"]["hf_config"]
            with correct(builder, config, list_corrections(config)):
                builder.create_model(*places, **prepared)
    except ImportError as exc:
        raise ExportError(
            "the exporter cannot be loaded",
            why=str(exc),
            fix="install the product again, with all its dependencies",
        ) from exc
    except Exception as exc:  # the builder raises whatever its libraries raise
        raise ExportError(
            f"the exporter failed on {source.name} in {precision}",
            why=(str(exc).splitlines() or [type(exc).__name__])[0],
            fix=f"see {log.name} in the run; try another base with --base",
        ) from exc
    finally:
        shutil.rmtree(cache, ignore_errors=True)


@contextlib.contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """Send what the builder prints and logs to a file, and leave logging as it was.

    The quantizer configures the root logger when it is imported, which is why that happens in here;
    its handlers would go on writing, later to a closed file.
    """
    loggers = [logging.getLogger(name) for name in (None, "neural_compressor", "onnxruntime")]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    with (
        log.open("w", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            yield
        finally:
            for logger, handlers, level in before:
                logger.handlers[:] = handlers
                logger.setLevel(level)


def _complete_folder(source: Path, target: Path) -> None:
    """Add what the builder leaves out, and make greedy decoding the default."""
    template = source / "chat_template.jinja"
    if template.exists() and not (target / template.name).exists():
        shutil.copyfile(template, target / template.name)
    path = target / "genai_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config["search"] |= {
        "do_sample": False,  # bases often ask for sampling; answers shall be repeatable
        "num_beams": 1,
        "max_length": config["model"]["context_length"],
    }
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
