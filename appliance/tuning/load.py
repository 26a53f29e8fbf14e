"""Loading a base model for training, scoring or merging, always from safetensors on this disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from appliance.errors import BaseModelError
from appliance.tuning.attention import IMPLEMENTATION

NEVER_QUANTIZED = ("lm_head",)
"""Layers that stay in the compute type: the head decides over every token."""


def load_base(folder: Path, *, quantized: bool, device: str, compute_dtype: str) -> PreTrainedModel:
    """Load a model, its weights frozen.

    Args:
        folder: a checkpoint in the transformers layout.
        quantized: hold the decoder's matrices in NF4 with double quantization.
        device: "cpu" or "cuda:0".
        compute_dtype: "float32" or "bfloat16".

    Raises:
        BaseModelError: transformers cannot load it.

    Source: NF4 and double quantization, Dettmers et al. 2023, arXiv:2305.14314.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    dtype: torch.dtype = getattr(torch, compute_dtype)
    options: dict[str, Any] = {}
    if quantized:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(NEVER_QUANTIZED),
        )
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=IMPLEMENTATION,
            device_map={"": device},
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as exc:
        raise BaseModelError(
            f"the base model in {folder} cannot be loaded",
            why=str(exc).splitlines()[0],
            fix="check the folder with 'appliance report', or choose another base with --base",
        ) from exc
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if quantized:
        _keep_exact(model)
    return model


def _keep_exact(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from swapping in its bf16 inference kernel on AVX512-BF16 processors.

    In evaluation mode it repacks the weights in place and rounds activations and scales to bf16:
    what is scored is then not what was trained (logits off by 7e-2), and since the packed layout
    stays, gradients stop flowing through the base when training goes on. Can go when bitsandbytes
    unpacks on `train()` (seen in 0.50.2, nn/modules.py, `Linear4bit.forward`).
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
