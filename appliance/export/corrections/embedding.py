"""The factor on the embeddings of Gemma."""

from __future__ import annotations

import math
from typing import Any


class ExactScale:
    """Scales embeddings by √width as the model does, not by its first two decimals."""

    embed_attrs: dict[str, Any]
    hidden_size: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Build as usual, then set the factor."""
        super().__init__(*args, **kwargs)
        self.embed_attrs["scale"] = math.sqrt(self.hidden_size)


def is_gemma(config: Any) -> bool:
    """Whether the model is of a Gemma family."""
    return config.model_type in ("gemma", "gemma2", "gemma3_text")
