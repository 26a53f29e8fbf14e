"""Models that give logits, block by block: one interface over torch and ONNX Runtime.

Letters: T tokens of an example, N positions of a block, V vocabulary, H key heads, K head width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from appliance.dataset.pack import IGNORED, Pack
from appliance.dataset.tokenizer import load_tokenizer
from appliance.errors import ExportError
from appliance.offline import go_offline

if TYPE_CHECKING:
    from appliance.tuning.model import DecoderModel

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]


class Scorer(Protocol):
    """A language model that says how likely every next token is."""

    @property
    def vocab_size(self) -> int:
        """Entries of a row of logits."""

    def score(self, token_ids_T: Ids, block: int) -> Iterator[Logits]:
        """Logits of one example, as arrays (N, V) in fp32, at most `block` positions each."""


class TorchScorer:
    """A transformers model, with or without an adapter."""

    def __init__(self, model: DecoderModel) -> None:
        """Take a model as it is: device and dtype stay."""
        self._model = model

    @property
    def vocab_size(self) -> int:
        """Rows of the head."""
        return int(self._model.read_head().shape[0])

    def score(self, token_ids_T: Ids, block: int) -> Iterator[Logits]:
        """Hidden states are computed once, the head block by block."""
        import torch

        from appliance.tuning.loss import cap_scores

        length = len(token_ids_T)
        pack = Pack(
            token_ids_T=token_ids_T,
            labels_T=np.full(length, IGNORED, dtype=np.int64),
            positions_T=np.arange(length, dtype=np.int64),
            segments=((0, length),),
        )
        module = self._model.module
        was_training = module.training
        module.eval()
        with torch.no_grad():
            hidden_TD = self._model.read_hidden(pack)
            head_VD = self._model.read_head()
        module.train(was_training)
        for start in range(0, length, block):
            with torch.no_grad():
                logits_NV = (hidden_TD[start : start + block] @ head_VD.t()).float()
                logits_NV = cap_scores(logits_NV, self._model.logit_cap)
            yield logits_NV.cpu().numpy()


class OnnxScorer:
    """An exported graph, run by ONNX Runtime without the generation loop."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load the graph.

        Args:
            folder: of an exported model.
            threads: processor cores to use.

        Raises:
            ExportError: ONNX Runtime refuses the graph.
        """
        go_offline()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # onnxruntime has a dozen error classes without a common parent
            raise ExportError(
                f"onnx runtime refuses the graph {folder.name}",
                why=(str(exc).splitlines() or [type(exc).__name__])[0],
                fix="remove the stage's folder from the run and start the same command again",
            ) from exc
        self._head_width = _read_head_width(folder)
        self._lead_ids = np.array(load_tokenizer(folder).virtual_ids, dtype=np.int64)
        inputs = self._session.get_inputs()
        self._names = {entry.name for entry in inputs}
        self._caches = [entry for entry in inputs if entry.name.startswith("past_key_values.")]

    @property
    def vocab_size(self) -> int:
        """Last dimension of the logits."""
        return int(self._session.get_outputs()[0].shape[-1])

    def score(self, token_ids_T: Ids, block: int) -> Iterator[Logits]:
        """Every block is read with the keys and values of the blocks before it.

        Virtual tokens are read first; nobody asks for their logits.
        """
        wanted = ["logits", *(_name_present(entry.name) for entry in self._caches)]
        caches = [_make_empty_cache(entry, self._head_width) for entry in self._caches]
        lead = len(self._lead_ids)
        whole_T = np.concatenate([self._lead_ids, token_ids_T])
        starts = [*([0] if lead else []), *range(lead, len(whole_T), block)]
        for start, end in zip(starts, [*starts[1:], len(whole_T)], strict=True):
            ids_N = whole_T[start:end]
            feeds: dict[str, Any] = {
                "input_ids": ids_N[None],
                "attention_mask": np.ones((1, end), dtype=np.int64),
                "position_ids": np.arange(start, end, dtype=np.int64)[None],
            }
            feeds = {name: value for name, value in feeds.items() if name in self._names}
            feeds |= {entry.name: cache for entry, cache in zip(self._caches, caches, strict=True)}
            logits_1NV, *caches = self._session.run(wanted, feeds)
            if start >= lead:
                yield logits_1NV[0].astype(np.float32, copy=False)


def _name_present(past: str) -> str:
    """`past_key_values.3.key` → `present.3.key`."""
    return past.replace("past_key_values.", "present.", 1)


def _read_head_width(folder: Path) -> int:
    """K, which the graph leaves open and the runtime configuration states."""
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    return int(config["model"]["decoder"]["head_size"])


def _make_empty_cache(entry: Any, head_width: int) -> npt.NDArray[Any]:
    """Keys or values of no token, shape (1, H, 0, K)."""
    dtype = np.float16 if entry.type == "tensor(float16)" else np.float32
    return np.zeros((1, int(entry.shape[1]), 0, head_width), dtype=dtype)
