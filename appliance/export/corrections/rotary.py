"""Rotary tables as transformers computes them, in place of the builder's own formulas.

Letters: P positions, F frequencies (half of what is rotated of a head).
"""

from __future__ import annotations

import copy
from typing import Any

_MENDED = frozenset({"linear", "yarn", "longrope"})


class TablesOfTransformers:
    """Takes frequencies and factor from transformers; for every kind of layer if they differ."""

    rope_attrs: dict[str, Any]

    def make_rope_init(self, config: Any) -> None:
        """Compute the frequencies while the whole configuration is at hand."""
        kinds = getattr(config, "rope_of_layers", None) or [config.rope_parameters]
        self.frequencies = [_compute_frequencies(config, parameters) for parameters in kinds]

    def make_rotary_embedding_caches_from_scratch(self) -> tuple[Any, Any]:
        """Cosines and sines, (P, 2 F) each; a second call asks for the second kind of layer."""
        import torch

        frequencies_F, factor = self.frequencies.pop(0)
        positions_P = torch.arange(self.rope_attrs["cache_length"]).float()
        angles_PF = torch.outer(positions_P, frequencies_F)
        angles = torch.cat([angles_PF, angles_PF], dim=-1)
        return angles.cos() * factor, angles.sin() * factor


def needs_tables(config: Any) -> bool:
    """Whether the rotary embedding is scaled in a way that the builder gets wrong."""
    return _read_kind(config) in _MENDED


def is_longrope(config: Any) -> bool:
    """Whether there are two tables, for short and for long text."""
    return _read_kind(config) == "longrope"


def is_nested(config: Any) -> bool:
    """Whether the kinds of layers have tables of their own."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return "full_attention" in parameters


def keep_short(config: Any) -> None:
    """End the context where the long table would begin: that much is proven and served.

    Beyond it transformers rotates everything again, and a cache holds keys of both tables.
    """
    parameters = config.rope_parameters
    original = parameters["original_max_position_embeddings"]
    parameters.setdefault("factor", config.max_position_embeddings / original)
    config.max_position_embeddings = config.original_max_position_embeddings = original


def flatten(config: Any) -> None:
    """Give the builder the old spelling, and `TablesOfTransformers` the whole of the new one."""
    full, local = (config.rope_parameters[kind] for kind in ("full_attention", "sliding_attention"))
    config.rope_of_layers = [full, local]  # in the order in which the builder makes them
    config.rope_theta, config.rope_local_base_freq = full["rope_theta"], local["rope_theta"]
    config.rope_parameters = dict(full)


def _read_kind(config: Any) -> str:
    parameters = getattr(config, "rope_parameters", None) or {}
    return str(parameters.get("rope_type", ""))


def _compute_frequencies(config: Any, parameters: dict[str, Any]) -> tuple[Any, float]:
    """Frequencies (F) and the factor on cosines and sines."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind = parameters["rope_type"]
    if kind == "default":
        width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        exponents_F = torch.arange(0, width, 2, dtype=torch.float32) / width
        return parameters["rope_theta"] ** -exponents_F, 1.0
    alone = copy.deepcopy(config)
    alone.rope_parameters = dict(parameters)
    frequencies_F, factor = ROPE_INIT_FUNCTIONS[kind](alone, torch.device("cpu"))
    return frequencies_F, float(factor)
