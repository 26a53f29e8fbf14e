"""Virtual tokens of a prompt-tuned model in its files: they are always read and never written.

They become special tokens, and the chat template begins with them; a base without a template gets
the plain one (`dataset/template.py`), so there is always one. What a person writes is disarmed, so
nobody can type them. The graph ends with the logits of the base's own tokens: no sampling, of
whatever runtime, can choose a virtual token, also where head and embedding are one matrix.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from appliance.dataset.tokenizer import name_virtual_token
from appliance.errors import ExportError


def add_virtual_tokens(folder: Path, token_ids: Sequence[int]) -> None:
    """Teach tokenizer and chat template of a merged checkpoint its virtual tokens.

    A model often has more rows than its tokenizer has tokens; the rows between are named too,
    because a tokenizer counts its tokens without gaps.

    Args:
        folder: of the checkpoint; tokenizer.json and chat_template.jinja are changed in place.
        token_ids: of the virtual tokens, in the order in which they are read.

    Raises:
        ExportError: the tokenizer gives them other ids.
    """
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    known = tokenizer.get_vocab_size(with_added_tokens=True)
    between = [f"<|unused_{number}|>" for number in range(known, min(token_ids))]
    names = [name_virtual_token(number) for number in range(len(token_ids))]
    for name in (*between, *names):
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False)])
    found = [tokenizer.token_to_id(name) for name in names]
    if found != list(token_ids):
        raise ExportError(
            "the tokenizer of the base takes no virtual tokens",
            why=f"it counts {known} tokens and gives them the ids {found[0]} to {found[-1]}",
            fix="tune with another method: --set tune.method=qlora",
        )
    tokenizer.save(str(path))
    template = folder / "chat_template.jinja"
    template.write_text("".join(names) + template.read_text(encoding="utf-8"), encoding="utf-8")


def trim_logits(folder: Path, num_tokens: int) -> None:
    """End a graph with the logits of the first tokens alone.

    Args:
        folder: of a graph of ONNX Runtime GenAI, with its runtime configuration.
        num_tokens: rows of logits that stay.
    """
    import onnx
    from onnx import TensorProto, helper

    path = folder / "model.onnx"
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    (logits,) = (output for output in graph.output if output.name == "logits")
    (last,) = (node for node in graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "logits_of_all"
    for name, value in (("starts", 0), ("ends", num_tokens), ("axes", 2)):
        graph.initializer.append(
            helper.make_tensor(f"logits_{name}", TensorProto.INT64, [1], [value])
        )
    inputs = ["logits_of_all", "logits_starts", "logits_ends", "logits_axes"]
    graph.node.append(helper.make_node("Slice", inputs, ["logits"], name="/lm_head/Slice"))
    logits.type.tensor_type.shape.dim[2].dim_value = num_tokens
    onnx.save(model, str(path))
    settings = folder / "genai_config.json"
    config: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
    config["model"]["vocab_size"] = num_tokens
    settings.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
