"""Every storage of a training step, followed from its birth to its end, on real or on fake tensors.

The step is the product's own: its methods attach, its attention reads, its loss and its optimizer
follow. Under fake tensors nothing is computed and no memory is taken, so that shapes of any size
can be followed here. A torch without CUDA cannot pretend to have it: fake CPU tensors in bfloat16
stand in.

Letters: T tokens of a pack, D model width.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from bitsandbytes.functional import QuantState
from bitsandbytes.nn import Linear4bit, Params4bit
from planner_shapes import make_config
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from appliance.planning.training import Training
from appliance.tuning.attention import IMPLEMENTATION
from appliance.tuning.fused import fuse
from appliance.tuning.loss import sum_cross_entropy
from appliance.tuning.method import METHODS
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.tuning.optimizer import build_optimizer
from appliance.tuning.schedule import Schedule
from appliance.values import BaseSpec

SEGMENTS = 2
"""Examples of a pack."""


class Tracker(TorchDispatchMode):
    """Counts the bytes of all storages that are alive.

    Attributes:
        bytes: now.
        peak_bytes: at most, since it was last set.
    """

    def __init__(self) -> None:
        """Count nothing yet."""
        super().__init__()
        self.bytes = self.peak_bytes = 0
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def hold(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        self.bytes += size
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.bytes -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let an operation happen, and count what it made."""
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self.hold(value)
        if func.namespace == "bitsandbytes" and "gemm_4bit" in func._schema.name:
            unpacked = args[2][0] * args[2][1]  # inside the operation, where nothing else sees it
            size = unpacked * args[0].element_size() + 4 * (unpacked // 64)
            self.peak_bytes = max(self.peak_bytes, self.bytes + size)
        return result


def track_peak(spec: BaseSpec, training: Training) -> int:
    """Bytes at the peak of a training step, under fake tensors.

    The step is one that has its moments, and the pack is its last: where there are several, the
    gradients of the others are there.

    Args:
        spec: the shape of the base.
        training: how it is trained.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        pass
    model = _build(spec, training, fake)
    decoder = wrap_model(model)
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    schedule = Schedule(num_steps=2, peak_lr=1e-4, warmup_steps=1, decay_steps=1)
    tracker = Tracker()
    with fake:
        for tensor in _list_tensors(model):
            tracker.hold(tensor)
        optimizer = build_optimizer(weights, schedule)
        with tracker:
            _give_gradients(weights)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            tracker.peak_bytes = tracker.bytes
            if training.packs_per_step > 1:
                _give_gradients(weights)
            _learn(decoder, training.sequence_length)
            optimizer.step()
    return tracker.peak_bytes


def _give_gradients(weights: dict[str, nn.Parameter]) -> None:
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)


def _learn(model: DecoderModel, tokens: int) -> None:
    """As `sum_pack_loss` and the loop do, with a label everywhere.

    Fake tensors hold no numbers, so labelled rows are taken by number instead of by a mask.
    """
    ids_T, rows_T = torch.zeros(tokens, dtype=torch.int64), torch.arange(tokens)
    output = model.decoder(
        input_ids=ids_T[None],
        position_ids=rows_T[None],
        use_cache=False,
        segments=tuple(
            (n * tokens // SEGMENTS, (n + 1) * tokens // SEGMENTS) for n in range(SEGMENTS)
        ),
    )
    hidden_TD = output.last_hidden_state[0]
    labelled_TD = hidden_TD[rows_T]
    loss = sum_cross_entropy(labelled_TD, model.read_head(), torch.zeros_like(rows_T)) / tokens
    del output, hidden_TD, labelled_TD
    loss.backward()


def _build(spec: BaseSpec, training: Training, fake: FakeTensorMode) -> Any:
    """The base with what learns on it, as `tuning/load.py` makes it, of fake tensors."""
    dtype = getattr(torch, training.compute_dtype)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(make_config(spec), dtype=dtype)
    model.set_attn_implementation(IMPLEMENTATION)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if training.is_quantized:
        _quantize(model, dtype)
    plan: Any = SimpleNamespace(
        rank=training.rank,
        tunes_head=training.tunes_head,
        tunes_embeddings=training.tunes_embeddings,
    )
    model = METHODS[training.method].attach(model, plan, 0)
    if training.method != "full" and training.compute_dtype == "float32":
        fuse(model)
    if training.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    with fake:
        _fill(model, dtype)
    return model


def _quantize(model: Any, dtype: torch.dtype) -> None:
    """Put 4-bit layers, still without weights, where linear layers of the decoder are."""
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Linear) or name == "lm_head":
            continue
        parent, _, child = name.rpartition(".")
        new = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=dtype,
            quant_type="nf4",
            device="meta",
        )
        new.requires_grad_(False)
        new.support_avx512bf16_for_cpu = False
        setattr(model.get_submodule(parent), child, new)
    model.is_quantized = model.is_loaded_in_4bit = True


def _fill(model: Any, dtype: torch.dtype) -> None:
    """Give every weight and buffer a fake tensor; what was shared stays shared."""
    made: dict[int, nn.Parameter] = {}
    for layer in model.modules():
        for name, old in list(layer._parameters.items()):
            if old is None:
                continue
            if id(old) not in made:
                is_packed = isinstance(layer, Linear4bit) and name == "weight"
                data = None if is_packed else torch.empty(old.shape, dtype=old.dtype)
                made[id(old)] = (
                    _pack(layer, dtype) if data is None else nn.Parameter(data, old.requires_grad)
                )
            layer._parameters[name] = made[id(old)]
        for name, buffer in list(layer._buffers.items()):
            if buffer is not None:
                layer._buffers[name] = torch.ones(buffer.shape, dtype=buffer.dtype)


def _pack(layer: Any, dtype: torch.dtype) -> Params4bit:
    """A weight in NF4 with double quantization: half bytes, scales, scales of the scales."""
    count = layer.out_features * layer.in_features
    blocks = -(-count // 64)
    outer = QuantState(
        absmax=torch.empty(-(-blocks // 256)),
        code=torch.empty(256),
        blocksize=256,
        dtype=torch.float32,
    )
    state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8),
        shape=torch.Size([layer.out_features, layer.in_features]),
        code=torch.empty(16),
        blocksize=64,
        quant_type="nf4",
        dtype=dtype,
        offset=torch.empty(()),
        state2=outer,
    )
    weight: Any = nn.Parameter(torch.empty((count + 1) // 2, 1, dtype=torch.uint8), False)
    weight.quant_state = layer.quant_state = state
    return weight


def _list_tensors(model: Any) -> list[Tensor]:
    """Weights, buffers and the scales of packed weights."""
    tensors = []
    for layer in model.modules():
        for tensor in (*layer._parameters.values(), *layer._buffers.values()):
            if tensor is None:
                continue
            tensors.append(tensor)
            state = getattr(tensor, "quant_state", None)
            if state is not None:
                outer = state.state2
                tensors += [state.absmax, state.code, state.offset, outer.absmax, outer.code]
    return tensors


def plan_peak(spec: BaseSpec, training: Training) -> int:
    """The same by the closed form, without what no tensor holds: the program, its allocator."""
    from appliance.planning.memory import estimate_memory

    estimate = estimate_memory(spec, replace(training, returns_memory=True))
    return estimate.total_bytes - estimate.runtime_bytes - estimate.allocator_bytes
