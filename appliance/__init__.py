"""An on-prem appliance that fine-tunes, proves, exports and serves quantized language models."""

__version__ = "0.1.0"
