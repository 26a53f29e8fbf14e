"""What the export tests share: the embedded base in torch, and held-out examples."""

import sys
from pathlib import Path

import pytest

from appliance.offline import go_offline

go_offline()
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def embedded():
    """The embedded base as the training loop loads it."""
    import torch
    from exported_model import EMBEDDED
    from transformers import AutoModelForCausalLM

    from appliance.tuning.attention import IMPLEMENTATION
    from appliance.tuning.model import wrap_model

    return wrap_model(
        AutoModelForCausalLM.from_pretrained(
            EMBEDDED, dtype=torch.float32, attn_implementation=IMPLEMENTATION
        ).eval()
    )


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """Three documents as examples of their own, about 200 tokens."""
    from exported_model import EMBEDDED, TEXTS
    from tokenizers import Tokenizer

    from appliance.dataset.pack import build_pack
    from appliance.dataset.tokens import Example, write_token_file

    tokenizer = Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))
    rows = [tokenizer.encode(text).ids for text in TEXTS]
    examples = [
        Example(token_ids=ids, supervised=[True] * len(ids), document=number)
        for number, ids in enumerate(rows)
    ]
    split = write_token_file(tmp_path_factory.mktemp("sample") / "test", examples, 8192)
    return [build_pack(split, [row]) for row in range(len(examples))]
