"""Which layers look through a window, and which rotate."""

from __future__ import annotations

from typing import Any

_EVERYWHERE = ("mistral", "phi3")


class RopeWhereConfigured:
    """Leaves the rotary embedding out of the layers that have none."""

    attention_attrs: dict[str, Any]
    no_rope_layers: list[int]

    def make_attention(self, layer_id: int, *args: Any, **kwargs: Any) -> None:
        """Build the attention of one layer; 1 in `no_rope_layers` means that it rotates."""
        before = self.attention_attrs["rope"]
        self.attention_attrs["rope"] = bool(self.no_rope_layers[layer_id])
        try:
            super().make_attention(layer_id, *args, **kwargs)  # type: ignore[misc]
        finally:
            self.attention_attrs["rope"] = before


def has_window_everywhere(config: Any) -> bool:
    """Whether all layers have a window and no list says so."""
    return (
        config.model_type in _EVERYWHERE
        and bool(getattr(config, "sliding_window", None))
        and getattr(config, "layer_types", None) is None
    )


def name_layers(config: Any) -> None:
    """Say of every layer that it has a window."""
    config.layer_types = ["sliding_attention"] * config.num_hidden_layers


def has_plain_layers(config: Any) -> bool:
    """Whether some layers have no rotary embedding."""
    return config.model_type == "smollm3" and not all(config.no_rope_layers)
