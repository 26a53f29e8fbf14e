"""Every family that is taken: trained, merged, exported and served as transformers computes it.

`scripts/bench export` measures more of each; thresholds stand in `appliance/export/gates.py`.
"""

import pytest
from family_proof import prove_family
from zoo import ZOO

from appliance.bases.families import FAMILIES

QUICK = (
    "llama biases, gelu",
    "llama yarn",
    "qwen2 tied, window",
    "qwen3 tied, yarn",
    "mistral window",
    "phi3 longrope, part of the head",
    "gemma",
    "gemma2",
    "gemma3 text",
    "smollm3",
    "granite",
    "olmo",
    "olmo2",
    "ernie 4.5 biases",
)
MEMBERS = [member for member in ZOO if member.name in QUICK]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_family_is_the_same_model_all_the_way(member, tmp_path):
    proof = prove_family(member, tmp_path, merges=("lora", "adapter"), is_quick=True)
    assert proof.why_not == ""
    assert proof.faults == []


def test_every_family_is_tried():
    assert {member.architecture for member in MEMBERS} == FAMILIES.keys()
