"""The model that the loop trains: a transformers decoder, read pack by pack.

Letters: T tokens of a pack, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from appliance.dataset.pack import Pack, put_before


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderModel:
    """A causal language model of transformers, with or without a PEFT adapter around it.

    Attributes:
        module: what owns the parameters.
        decoder: the part that turns ids into final hidden states.
        head: the language-model head, a linear layer without bias.
        noise: on the embeddings while training (`_add_noise`); 0 for none.
    """

    module: PreTrainedModel
    decoder: PreTrainedModel
    head: Any
    noise: float = 0.0

    @property
    def lead_ids(self) -> tuple[int, ...]:
        """Virtual tokens that stand before every example; none unless the model has them."""
        if not getattr(self.decoder.get_input_embeddings(), "is_enabled", True):
            return ()
        return tuple(getattr(self.decoder.config, "virtual_token_ids", None) or ())

    @property
    def logit_cap(self) -> float | None:
        """Bound of the scores that the head gives (Gemma 2); None for none."""
        cap: float | None = getattr(self.decoder.config, "final_logit_softcapping", None)
        return cap

    @property
    def logit_scale(self) -> float:
        """Factor on the scores that the head gives (Granite divides, Cohere multiplies)."""
        config = self.decoder.config
        return float(getattr(config, "logit_scale", 1.0)) / float(
            getattr(config, "logits_scaling", 1.0)
        )

    def read_hidden(self, pack: Pack) -> Tensor:
        """Final hidden states of a pack, shape (T, D)."""
        lead_ids = self.lead_ids
        if lead_ids:
            pack, kept_T = put_before(pack, lead_ids)
        device = next(self.decoder.parameters()).device
        ids_1T = torch.from_numpy(pack.token_ids_T)[None].to(device)
        is_noisy = self.noise and self.module.training
        output = self.decoder(
            **(
                {"inputs_embeds": self._add_noise(ids_1T, pack)}
                if is_noisy
                else {"input_ids": ids_1T}
            ),
            position_ids=torch.from_numpy(pack.positions_T)[None].to(device),
            use_cache=False,
            segments=pack.segments,
        )
        hidden_TD: Tensor = output.last_hidden_state[0]
        return hidden_TD[torch.from_numpy(kept_T).to(device)] if lead_ids else hidden_TD

    def _add_noise(self, ids_1T: Tensor, pack: Pack) -> Tensor:
        """Embeddings with uniform noise, of the norm that an example's length and width ask for.

        Drawn on the CPU, whose random state lies in every checkpoint.

        Source: NEFTune, Jain et al. 2023, arXiv:2310.05914, algorithm 1.
        """
        plain_1TD: Tensor = self.decoder.get_input_embeddings()(ids_1T)
        lengths_N = torch.tensor([end - start for start, end in pack.segments])
        scale_T = (self.noise / (lengths_N * plain_1TD.shape[-1]).sqrt()).repeat_interleave(
            lengths_N
        )
        noise_1TD = (torch.rand(plain_1TD.shape) * 2 - 1) * scale_T[:, None]
        return plain_1TD + noise_1TD.to(plain_1TD)

    def read_head(self) -> Tensor:
        """Weight of the head, shape (V, D), with its low-rank update if it has one.

        A factor on the scores is part of it. Virtual tokens are not: they are read and never
        written.
        """
        base = getattr(self.head, "base_layer", self.head)
        weight_VD: Tensor = base.weight
        if base is not self.head and not self.head.disable_adapters:
            for name in self.head.active_adapters:
                down_RD, up_VR = self.head.lora_A[name].weight, self.head.lora_B[name].weight
                update_VD = self.head.scaling[name] * (up_VR @ down_RD)
                weight_VD = weight_VD + update_VD.to(weight_VD.dtype)
        if self.logit_scale != 1.0:
            weight_VD = weight_VD * self.logit_scale
        return weight_VD[: self.lead_ids[0]] if self.lead_ids else weight_VD


def compute_twice(module: PreTrainedModel) -> None:
    """Let a model keep the input of every layer alone, and compute the rest again."""
    new_name = getattr(module, "activation_checkpointing_enable", None)  # not in 5.20 yet
    (new_name or module.gradient_checkpointing_enable)({"use_reentrant": False})


def wrap_model(module: PreTrainedModel) -> DecoderModel:
    """Find decoder and head of a transformers model, or of a PEFT model around one."""
    plain = module.get_base_model() if hasattr(module, "get_base_model") else module
    return DecoderModel(
        module=module, decoder=plain.get_decoder(), head=plain.get_output_embeddings()
    )
