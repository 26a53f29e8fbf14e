"""The norm of OLMo 1: a layer norm without weight and bias."""

from __future__ import annotations

from typing import Any

EPSILON = 1e-5
"""Source: `OlmoLayerNorm` of transformers 5.23."""


class PlainLayerNorm:
    """Lets the builder subtract the mean, which an RMS norm does not."""

    layernorm_attrs: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Build as usual, then ask for layer norms."""
        super().__init__(*args, **kwargs)
        self.layernorm_attrs["simple"] = False
        self.layernorm_attrs["epsilon"] = EPSILON


def is_olmo(config: Any) -> bool:
    """Whether the model is of the first OLMo family."""
    return bool(config.model_type == "olmo")
