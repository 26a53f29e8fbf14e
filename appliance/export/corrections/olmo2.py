"""OLMo 2, which the builder does not know: norms after attention and MLP, and over all heads.

It is built as a Llama whose layers are put together in another order, so that it has the same fused
attention, the same cache and the same quantization as every other graph. A second exporter
(`torch.onnx.export`) would give a graph without these, and need another package.
"""

from __future__ import annotations

from typing import Any


class NormsBehind:
    """Builds `x + norm(attention(x))`, `x + norm(mlp(x))`, and norms queries and keys whole."""

    attention_attrs: dict[str, Any]
    layernorm_attrs: dict[str, Any]
    num_layers: int
    io_dtype: Any
    make_add: Any
    make_attention: Any
    make_hidden_state_shape: Any
    make_initializer: Any
    make_layernorm: Any
    make_mlp: Any
    make_node: Any
    make_value: Any

    def make_attention_init(self, config: Any) -> None:
        """Ask for norms of queries and keys."""
        self.attention_attrs["q_norm"] = self.attention_attrs["k_norm"] = True
        super().make_attention_init(config)  # type: ignore[misc]

    def make_qk_norm(self, layer_id: int, attention: Any) -> None:
        """Norm queries and keys over all their heads together."""
        for which in ("q", "k"):
            name = f"/model/layers.{layer_id}/attn/{which}_norm/SimplifiedLayerNormalization"
            weight = f"model.layers.{layer_id}.attn.{which}_norm.layernorm.weight"
            norm = getattr(attention, f"{which}_norm")
            self.make_initializer(norm.weight, weight, to=self.io_dtype)
            self.make_node(
                "SimplifiedLayerNormalization",
                inputs=[self.attention_attrs[f"{which}_path"], weight],
                outputs=[f"{name}/output_0"],
                name=name,
                epsilon=self.layernorm_attrs["epsilon"],
                axis=-1,
                stash_type=1,
            )
            shape = ["batch_size", "sequence_length", norm.weight.shape[0]]
            self.make_value(f"{name}/output_0", self.io_dtype, shape=shape)
            self.attention_attrs[f"{which}_path"] = f"{name}/output_0"

    def make_layer(self, layer_id: int, layer: Any) -> None:
        """Build one layer; the sum after the last is made by the final norm."""
        stream = self.layernorm_attrs["root_input"]
        self.make_attention(layer_id, layer.self_attn, root_input=stream)
        normed = self._norm(layer_id, layer.post_attention_layernorm, "post_attention")
        stream = self._add(layer_id, "post_attention", stream, normed)
        self.make_mlp(layer_id, layer.mlp, root_input=stream)
        normed = self._norm(layer_id, layer.post_feedforward_layernorm, "post_feedforward")
        is_last = layer_id == self.num_layers - 1
        if not is_last:
            stream = self._add(layer_id, "post_feedforward", stream, normed)
        self.layernorm_attrs |= {
            "root_input": stream,
            "skip_input": normed,
            "first_layernorm": False,
            "last_layernorm": is_last,
        }

    def _norm(self, layer_id: int, norm: Any, location: str) -> str:
        """Norm what attention or MLP gave, which the builder left as the next skip input."""
        self.layernorm_attrs["root_input"] = self.layernorm_attrs["skip_input"]
        self.make_layernorm(layer_id, norm, skip=False, simple=True, location=location)
        return str(self.layernorm_attrs["output_0"])

    def _add(self, layer_id: int, location: str, stream: str, normed: str) -> str:
        name = f"/model/layers.{layer_id}/{location}_add/Add"
        shape = self.make_hidden_state_shape()
        self.make_add(name, [stream, normed], dtype=self.io_dtype, shape=shape)
        return f"{name}/output_0"


def is_olmo2(config: Any) -> bool:
    """Whether the model is of the second OLMo family."""
    return bool(config.model_type == "olmo2")


def call_it_llama(config: Any) -> None:
    """Let the builder take its class for Llama, which the mixin then corrects."""
    config.architectures = ["LlamaForCausalLM"]
