"""What the model builder of onnxruntime-genai gets wrong, mended one fault at a time.

The builder takes these configurations and writes a graph of another model without a word, or dies
of a key error. A correction is a mixin over the builder's own class, and perhaps a change of the
configuration that only the builder sees; the library itself is left as it is. Each names the fault
and goes when its test in `tests/export/test_corrections.py` says that upstream has mended it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.export.corrections import embedding, layers, norms, olmo2, rotary


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """A fault of the builder, and what takes its place.

    Attributes:
        name: how tests and the export matrix call it.
        fault: what the builder does, seen in onnxruntime-genai 0.18.0.
        applies: whether a configuration of transformers meets the fault.
        prepare: changes the configuration that the builder reads; None for nothing.
        mixin: goes before the builder's class; None for nothing.
    """

    name: str
    fault: str
    applies: Callable[[Any], bool]
    prepare: Callable[[Any], None] | None = None
    mixin: type | None = None


CORRECTIONS = (
    Correction(
        name="rotary-tables",
        fault="LlamaModel ignores every rope type but llama3, and yarn takes beta_fast for "
        "required, forgets to round its borders, and divides by nought without it",
        applies=rotary.needs_tables,
        mixin=rotary.TablesOfTransformers,
    ),
    Correction(
        name="short-longrope",
        fault="the branch for long text switches tables in the middle of a conversation, and "
        "rope_parameters['type'] is asked for, which transformers 5 calls rope_type",
        applies=rotary.is_longrope,
        prepare=rotary.keep_short,
    ),
    Correction(
        name="rope-by-layer",
        fault="Gemma3Model reads rope_local_base_freq and a flat rope_parameters; transformers 5 "
        "nests them by kind of layer. The scaling of the global table would reach the local one",
        applies=rotary.is_nested,
        prepare=rotary.flatten,
        mixin=rotary.TablesOfTransformers,
    ),
    Correction(
        name="window-in-every-layer",
        fault="a configuration without layer_types counts as full attention in every layer: the "
        "window of Mistral and Phi-3 is dropped",
        applies=layers.has_window_everywhere,
        prepare=layers.name_layers,
    ),
    Correction(
        name="layers-without-rope",
        fault="SmolLM3Model asks for position_ids in a layer without rotary embedding, and would "
        "rotate there",
        applies=layers.has_plain_layers,
        mixin=layers.RopeWhereConfigured,
    ),
    Correction(
        name="layer-norm",
        fault="OLMoModel writes RMS norms where the model has layer norms, with another epsilon",
        applies=norms.is_olmo,
        mixin=norms.PlainLayerNorm,
    ),
    Correction(
        name="embedding-scale",
        fault="GemmaModel rounds the factor on the embeddings, √width, to two decimals",
        applies=embedding.is_gemma,
        mixin=embedding.ExactScale,
    ),
    Correction(
        name="olmo2",
        fault="the builder does not know Olmo2ForCausalLM",
        applies=olmo2.is_olmo2,
        prepare=olmo2.call_it_llama,
        mixin=olmo2.NormsBehind,
    ),
)
"""Known faults of the builder that this program mends."""

_CLASSES = {
    "Ernie4_5ForCausalLM": "ErnieModel",
    "Gemma2ForCausalLM": "Gemma2Model",
    "Gemma3ForCausalLM": "Gemma3Model",
    "GemmaForCausalLM": "GemmaModel",
    "GraniteForCausalLM": "GraniteModel",
    "LlamaForCausalLM": "LlamaModel",
    "MistralForCausalLM": "MistralModel",
    "OlmoForCausalLM": "OLMoModel",
    "Phi3ForCausalLM": "Phi3MiniModel",
    "Qwen2ForCausalLM": "QwenModel",
    "Qwen3ForCausalLM": "Qwen3Model",
    "SmolLM3ForCausalLM": "SmolLM3Model",
}
"""The builder's class of each architecture."""


def list_corrections(config: Any) -> list[Correction]:
    """The corrections that a configuration of transformers needs."""
    return [correction for correction in CORRECTIONS if correction.applies(config)]


@contextlib.contextmanager
def correct(builder: Any, config: Any, corrections: Sequence[Correction]) -> Iterator[None]:
    """Let the builder use corrected classes, as long as the context lasts.

    Args:
        builder: the module `onnxruntime_genai.models.builder`.
        config: what it is about to read; it is changed.
        corrections: those that `list_corrections` gave.
    """
    for correction in corrections:
        if correction.prepare is not None:
            correction.prepare(config)
    mixins = dict.fromkeys(c.mixin for c in corrections if c.mixin is not None)
    name = _CLASSES.get(config.architectures[0])
    if name is None or not mixins:
        yield
        return
    plain = getattr(builder, name)
    setattr(builder, name, type(name, (*mixins, plain), {}))
    try:
        yield
    finally:
        setattr(builder, name, plain)
