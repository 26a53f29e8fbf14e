"""The frozen trunk below the first bottleneck, run once per pack in adapter tuning.

Up to the MLP of the first layer with a bottleneck nothing learns, and nothing depends on what does:

    residual = trunk(ids)           # embedding, the layers below, the attention of this layer
    plain = mlp(norm(residual))     # the frozen MLP beside the bottleneck
    y = residual + (plain + bottleneck(norm(residual)))

`residual` and `plain` are kept as they were computed, so that training has the bits that it would
have without. What is kept where is decided in `hidden_cache.py`.

Letters: T tokens of a pack, S = 2 states of a token, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from appliance.dataset.pack import Pack
from appliance.tuning.hidden_store import HiddenStore, name_pack
from appliance.tuning.methods.adapter import GatedBottleneck
from appliance.tuning.model import DecoderModel

FOLLOWED = frozenset({"llama", "qwen2", "qwen3", "mistral", "ernie4_5", "olmo", "smollm3"})
"""Model types whose layers are put together as here; others scale or norm in between."""

NUM_STATES = 2
"""Hidden states kept of a token: `residual` and `plain`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedModel:
    """A model with bottlenecks whose trunk is read from a store, and computed when it is not there.

    For the loop it is a model like any other.

    Attributes:
        model: the whole model.
        first: number of its first layer with a bottleneck.
        store: the states of the packs that were read before.
    """

    model: DecoderModel
    first: int
    store: HiddenStore

    @property
    def module(self) -> PreTrainedModel:
        """What owns the parameters."""
        return self.model.module

    def read_head(self) -> Tensor:
        """Weight of the head, shape (V, D)."""
        return self.model.read_head()

    @property
    def logit_cap(self) -> float | None:
        """Bound of the scores that the head gives; None for none."""
        return self.model.logit_cap

    def read_hidden(self, pack: Pack) -> Tensor:
        """Final hidden states of a pack, shape (T, D)."""
        device = next(self.model.decoder.parameters()).device
        key = name_pack(pack)
        states_STD = self.store.read(key)
        if states_STD is None:
            states_STD = run_trunk(self.model.decoder, self.first, pack)
            self.store.write(key, states_STD)
        return run_top(self.model.decoder, self.first, pack, states_STD.to(device))


def find_first(decoder: PreTrainedModel) -> int | None:
    """Number of the first layer with a bottleneck; None without any."""
    return next(
        (n for n, layer in enumerate(decoder.layers) if isinstance(layer.mlp, GatedBottleneck)),
        None,
    )


@torch.no_grad()
def run_trunk(decoder: PreTrainedModel, first: int, pack: Pack) -> Tensor:
    """States of a pack below the first bottleneck, shape (S, T, D).

    It follows `LlamaDecoderLayer.forward` of transformers 5, which Qwen and Mistral share; that it
    is what this model computes is checked when a cache is opened.
    """
    layer = decoder.layers[first]
    device = next(decoder.parameters()).device
    hidden_1TD = decoder.embed_tokens(torch.from_numpy(pack.token_ids_T)[None].to(device))
    context = _give_context(decoder, pack, hidden_1TD)
    for below in decoder.layers[:first]:
        hidden_1TD = below(hidden_1TD, **context)
    attended_1TD, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_1TD), **context)
    residual_1TD = hidden_1TD + attended_1TD
    plain_1TD = layer.mlp.mlp(layer.post_attention_layernorm(residual_1TD))
    return torch.cat([residual_1TD, plain_1TD])


def run_top(decoder: PreTrainedModel, first: int, pack: Pack, states_STD: Tensor) -> Tensor:
    """Final hidden states from those of the trunk, shape (T, D); the bottlenecks learn."""
    layer = decoder.layers[first]
    residual_1TD, plain_1TD = states_STD[:1], states_STD[1:]
    added_1TD = layer.mlp.add(layer.post_attention_layernorm(residual_1TD), plain_1TD)
    hidden_1TD = residual_1TD + added_1TD
    context = _give_context(decoder, pack, hidden_1TD)
    for above in decoder.layers[first + 1 :]:
        hidden_1TD = above(hidden_1TD, **context)
    final_TD: Tensor = decoder.norm(hidden_1TD)[0]
    return final_TD


def _give_context(decoder: PreTrainedModel, pack: Pack, hidden_1TD: Tensor) -> dict[str, Any]:
    """What a layer is told beside its input."""
    positions_1T = torch.from_numpy(pack.positions_T)[None].to(hidden_1TD.device)
    return {
        "attention_mask": None,
        "position_ids": positions_1T,
        "position_embeddings": decoder.rotary_emb(hidden_1TD, position_ids=positions_1T),
        "segments": pack.segments,
    }
