"""The layers of a decoder computed in fewer passes over memory, in fp32, around a frozen base.

Beside products of matrices this small, every pass over the activations counts: a low-rank update
written out in PEFT's layers copies the output three times, a norm reads its input seven times. Here
each such group is one operation with its gradient written by hand. The results are those of the
plain layers within rounding (`tests/tuning/test_fused.py`); what was gained stands in
docs/decisions/0035.

Where nothing here fits (bfloat16, another architecture, DoRA, dropout) the plain layers stay.

Letters: T tokens of a pack, D width of an input, N width of an output, R rank, S ranks side by
side, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from appliance.tuning.attention import attend_segments

ATTENTIONS = frozenset({"LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention"})
"""Classes of transformers whose attention is the one written below."""


def fuse(model: nn.Module) -> None:
    """Let the layers of a model with a frozen base compute in fewer passes.

    Args:
        model: in fp32, with what learns already attached. Weights and names stay as they are.
    """
    for module in model.modules():
        if _is_norm(module):
            module.forward = partial(_run_norm, module)
        elif _is_gated(module):
            module.forward = partial(_run_gated, module)
        elif type(module).__name__ in ATTENTIONS:
            module.forward = partial(_run_attention, module, module.forward)
        elif _has_update(module):
            module.forward = partial(_run_linear, module, module.forward)


def _is_norm(module: Any) -> bool:
    """Whether this is the RMS norm of Llama, frozen (Gemma's, which adds 1, has no such name)."""
    is_root_mean_square = type(module).__name__.endswith("RMSNorm")
    return (
        is_root_mean_square
        and hasattr(module, "variance_epsilon")
        and not module.weight.requires_grad
    )


def _is_gated(module: Any) -> bool:
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    is_silu = type(getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")
    return is_silu and all(hasattr(module, part) for part in parts)


def _has_update(module: Any) -> bool:
    """Whether this is a linear layer with one plain low-rank update."""
    if not isinstance(module, LoraLayer):
        return False
    lora_A: Any = module.lora_A
    dropouts: Any = module.lora_dropout
    names = module.active_adapters
    return (
        len(names) == 1
        and names[0] in lora_A
        and not module.lora_variant
        and isinstance(dropouts[names[0]], nn.Identity)
        and isinstance(module.get_base_layer(), nn.Linear)
    )


def _is_updated(module: Any) -> bool:
    """Whether it has a plain update that is switched on and not merged."""
    return _has_update(module) and not module.disable_adapters and not module.merged


def _run_norm(norm: Any, hidden: Tensor) -> Tensor:
    return _Norm.apply(hidden, norm.weight, norm.variance_epsilon)  # type: ignore[no-untyped-call,no-any-return]


def _run_gated(mlp: Any, hidden_BTD: Tensor) -> Tensor:
    gate_BTN, up_BTN = _project(hidden_BTD, mlp.gate_proj, mlp.up_proj)
    return mlp.down_proj(_Gate.apply(gate_BTN, up_BTN))  # type: ignore[no-untyped-call,no-any-return]


def _run_attention(
    attention: Any,
    plain: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    **options: Any,
) -> Any:
    """As `LlamaAttention.forward` of transformers 5, without a cache of keys."""
    is_whole = position_embeddings[0].shape[-1] == attention.head_dim
    if past_key_values is not None or not is_whole:
        return plain(
            hidden_states=hidden_states,
            position_embeddings=position_embeddings,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            **options,
        )
    shape = (*hidden_states.shape[:-1], -1, attention.head_dim)
    projected = _project(hidden_states, attention.q_proj, attention.k_proj, attention.v_proj)
    query_BTHK, key_BTHK, value_BTHK = (part.view(shape) for part in projected)
    if hasattr(attention, "q_norm"):
        query_BTHK, key_BTHK = attention.q_norm(query_BTHK), attention.k_norm(key_BTHK)
    cos_BT1K, sin_BT1K = (table[:, :, None] for table in position_embeddings)
    query_BTHK = _Rotation.apply(query_BTHK, cos_BT1K, sin_BT1K)  # type: ignore[no-untyped-call]
    key_BTHK = _Rotation.apply(key_BTHK, cos_BT1K, sin_BT1K)  # type: ignore[no-untyped-call]
    out_BTHK, _ = attend_segments(
        attention,
        query_BTHK.transpose(1, 2),
        key_BTHK.transpose(1, 2),
        value_BTHK.transpose(1, 2),
        attention_mask,
        scaling=attention.scaling,
        sliding_window=getattr(attention, "sliding_window", None),
        **options,
    )
    return attention.o_proj(out_BTHK.flatten(2)), None


def _run_linear(layer: Any, plain: Any, hidden_BTD: Tensor, *rest: Any, **options: Any) -> Tensor:
    if not _is_updated(layer):
        return plain(hidden_BTD, *rest, **options)  # type: ignore[no-any-return]
    return _project(hidden_BTD, layer)[0]


def _project(hidden_BTD: Tensor, *layers: Any) -> Sequence[Tensor]:
    """Outputs of linear layers that read the same; as one operation where all have an update."""
    if not all(map(_is_updated, layers)):
        return [layer(hidden_BTD) for layer in layers]
    (name,) = layers[0].active_adapters
    downs = [layer.lora_A[name].weight for layer in layers]
    ups = [layer.lora_B[name].weight for layer in layers]
    frozen = [layer.get_base_layer() for layer in layers]
    return _LowRank.apply(hidden_BTD, layers[0].scaling[name], frozen, *downs, *ups)  # type: ignore[no-untyped-call,no-any-return]


def _read_weight(frozen: Any) -> Tensor:
    """Weight of a frozen linear layer, unpacked from NF4 if need be, shape (N, D)."""
    if isinstance(frozen, Linear4bit):
        packed: Any = frozen.weight
        unpacked_ND: Tensor = dequantize_4bit(packed.data, packed.quant_state)
        return unpacked_ND
    weight_ND: Tensor = frozen.weight
    return weight_ND


class _LowRank(torch.autograd.Function):
    """y_i = x W_i' + b_i + s (x A_i') B_i' for layers i that read the same x; A and B learn."""

    @staticmethod
    def forward(
        ctx: Any, hidden_BTD: Tensor, scale: float, frozen: list[Any], *updates: Tensor
    ) -> tuple[Tensor, ...]:
        downs, ups = updates[: len(frozen)], updates[len(frozen) :]
        hidden_TD = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])
        inner_TS = hidden_TD @ torch.cat(downs).t()
        outputs = []
        ranks = [len(down_RD) for down_RD in downs]
        inners_TR = torch.split(inner_TS, ranks, 1)
        for layer, up_NR, inner_TR in zip(frozen, ups, inners_TR, strict=True):
            weight_DN = _read_weight(layer).t()
            if layer.bias is None:
                out_TN = hidden_TD @ weight_DN
            else:
                out_TN = torch.addmm(layer.bias, hidden_TD, weight_DN)
            out_TN.addmm_(inner_TR, up_NR.t(), alpha=scale)
            outputs.append(out_TN.view(*hidden_BTD.shape[:-1], -1))
        ctx.save_for_backward(hidden_TD, inner_TS, *updates)
        ctx.scale, ctx.frozen, ctx.shape = scale, frozen, hidden_BTD.shape
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        hidden_TD, inner_TS, *updates = ctx.saved_tensors
        count = len(ctx.frozen)
        downs, ups = updates[:count], updates[count:]
        ranks = [len(down_RD) for down_RD in downs]
        grads_TN = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
        # the narrow side first: this order is twice as fast as its transpose
        grad_ups = [
            (inner_TR.t() @ grad_TN).t().mul(ctx.scale)
            for inner_TR, grad_TN in zip(torch.split(inner_TS, ranks, 1), grads_TN, strict=True)
        ]
        grad_inner_TS = torch.cat(
            [grad_TN @ up_NR for grad_TN, up_NR in zip(grads_TN, ups, strict=True)], 1
        ).mul_(ctx.scale)
        grad_downs = (grad_inner_TS.t() @ hidden_TD).split(ranks)
        if not ctx.needs_input_grad[0]:
            return (None, None, None, *grad_downs, *grad_ups)
        grad_TD = grad_inner_TS @ torch.cat(downs)
        for layer, grad_TN in zip(ctx.frozen, grads_TN, strict=True):
            grad_TD.addmm_(grad_TN, _read_weight(layer))
        return (grad_TD.view(ctx.shape), None, None, *grad_downs, *grad_ups)


class _Norm(torch.autograd.Function):
    """y = w x / sqrt(mean(x²) + eps), over the last dimension; w is frozen.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = length.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight, inverse)
        normed: Tensor = (hidden * inverse).mul_(weight)
        return normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        hidden, weight, inverse = ctx.saved_tensors
        grad = grads[0] * weight
        along = torch.linalg.vecdot(grad, hidden)[..., None]
        along.mul_(inverse.pow(3)).div_(-hidden.shape[-1])
        return grad.mul_(inverse).addcmul_(hidden, along), None, None


class _Gate(torch.autograd.Function):
    """y = silu(gate) up, which keeps its two inputs and nothing between."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_up = F.silu(gate).mul_(grads[0])
        grad_gate = grads[0] * up
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return grad_gate, grad_up


class _Rotation(torch.autograd.Function):
    """y = x cos + turn(x) sin, where turn([a, b]) = [-b, a] over the halves of a head.

    Source: Su et al. 2021, arXiv:2104.09864, equation 34, with the halves of GPT-NeoX.
    """

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        (first, second), (sin_first, sin_second) = heads.chunk(2, -1), sin.chunk(2, -1)
        turned = heads * cos
        turned_first, turned_second = turned.chunk(2, -1)
        turned_first.addcmul_(second, sin_first, value=-1)
        turned_second.addcmul_(first, sin_second)
        return turned

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        (first, second), (sin_first, sin_second) = grads[0].chunk(2, -1), sin.chunk(2, -1)
        back = grads[0] * cos
        back_first, back_second = back.chunk(2, -1)
        back_first.addcmul_(second, sin_second)
        back_second.addcmul_(first, sin_first, value=-1)
        return back, None, None
